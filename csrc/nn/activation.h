// The activation functions that `hidden_act` and `pooler_activation` may name.
//
// The idea: one table from a name to a function of one tensor. What must stay true: names and
// results are those of roformer_ext/activations.py.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

namespace roformer_ext::nn {

using Activation = at::Tensor (*)(const at::Tensor&);

// std::invalid_argument, with the known names, where there is none of this name.
Activation activation(const std::string& name);

}  // namespace roformer_ext::nn
