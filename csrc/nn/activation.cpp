// Each function as ATen operators; the formulas stand in roformer_ext/activations.py.
#include "nn/activation.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

#include <cmath>
#include <map>
#include <stdexcept>
#include <string_view>

namespace roformer_ext::nn {
namespace {

using at::Tensor;

Tensor gelu(const Tensor& x) { return at::gelu(x); }
Tensor gelu_tanh(const Tensor& x) { return at::gelu(x, "tanh"); }
Tensor gelu_clipped(const Tensor& x) { return at::gelu(x).clamp(-10.0, 10.0); }
Tensor hardswish(const Tensor& x) { return at::hardswish(x); }
Tensor laplace(const Tensor& x) {
  return 0.5 * (1.0 + at::erf((x - 0.707107) / (0.282095 * std::sqrt(2.0))));
}
Tensor leaky_relu(const Tensor& x) { return at::leaky_relu(x); }
Tensor linear(const Tensor& x) { return x; }
Tensor mish(const Tensor& x) { return at::mish(x); }
Tensor quick_gelu(const Tensor& x) { return x * at::sigmoid(1.702 * x); }
Tensor relu(const Tensor& x) { return at::relu(x); }
Tensor relu_squared(const Tensor& x) { return at::relu(x).square(); }
Tensor relu6(const Tensor& x) { return at::relu6(x); }
Tensor sigmoid(const Tensor& x) { return at::sigmoid(x); }
Tensor silu(const Tensor& x) { return at::silu(x); }
Tensor tanh(const Tensor& x) { return at::tanh(x); }

const std::map<std::string_view, Activation> kActivations{
    {"gelu", gelu},
    {"gelu_10", gelu_clipped},
    {"gelu_accurate", gelu_tanh},
    {"gelu_fast", gelu_tanh},
    {"gelu_new", gelu_tanh},
    {"gelu_python", gelu},
    {"gelu_python_tanh", gelu_tanh},
    {"gelu_pytorch_tanh", gelu_tanh},
    {"hardswish", hardswish},
    {"laplace", laplace},
    {"leaky_relu", leaky_relu},
    {"linear", linear},
    {"mish", mish},
    {"quick_gelu", quick_gelu},
    {"relu", relu},
    {"relu2", relu_squared},
    {"relu6", relu6},
    {"sigmoid", sigmoid},
    {"silu", silu},
    {"swish", silu},
    {"tanh", tanh},
};

}  // namespace

Activation activation(const std::string& name) {
  const auto found = kActivations.find(name);
  if (found != kActivations.end()) return found->second;
  std::string names;
  for (const auto& [known, function] : kActivations) {
    names += (names.empty() ? "" : ", ") + std::string(known);
  }
  throw std::invalid_argument("an activation must be one of " + names + ", got '" + name + "'");
}

}  // namespace roformer_ext::nn
