// What every part of the model is made of: a linear map, a norm, an embedding.
//
// The idea: each owns its parameters under the names of the checkpoints and takes them from a
// scope. They are not torch::nn's own, which draw every weight before it can be loaded.
#pragma once

#include <ATen/core/Tensor.h>
#include <roformer_ext/config.h>
#include <torch/nn/module.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "nn/parameters.h"

namespace roformer_ext::nn {

// W x + b.
class Linear : public torch::nn::Module {
 public:
  Linear(const Scope& scope, std::int64_t in, std::int64_t out, bool with_bias);
  at::Tensor forward(const at::Tensor& x) const;

  at::Tensor weight, bias;  // [out, in]; [out] or undefined
};

// The configured norm over the last dim; "rms_norm" has no parameters.
class Norm : public torch::nn::Module {
 public:
  Norm(const Scope& scope, std::int64_t width, const RoFormerConfig& config);
  at::Tensor forward(const at::Tensor& x) const;

 private:
  std::int64_t width_;
  double eps_;
  bool rms_;
  at::Tensor weight_, bias_;
};

// Rows by id; the padding row starts at zero and gets no gradient from a look-up.
class Embedding : public torch::nn::Module {
 public:
  Embedding(const Scope& scope, std::int64_t rows, std::int64_t width,
            std::optional<std::int64_t> padding = {});
  at::Tensor forward(const at::Tensor& ids) const;

  at::Tensor weight;  // [rows, width]

 private:
  std::int64_t padding_;
};

// A module without computation: a name above others.
class Group : public torch::nn::Module {
 public:
  template <class Module>
  std::shared_ptr<Module> add(const std::string& name, std::shared_ptr<Module> module) {
    return register_module(name, std::move(module));
  }
};

// A module whose scope is a child of `scope`; register it under the same name.
template <class Module, class... Arguments>
std::shared_ptr<Module> child(const Scope& scope, const std::string& name,
                              const Arguments&... arguments) {
  return std::make_shared<Module>(scope / name, arguments...);
}

// An undefined tensor is no tensor.
inline std::optional<at::Tensor> given(const std::optional<at::Tensor>& tensor) {
  return tensor && tensor->defined() ? tensor : std::nullopt;
}

}  // namespace roformer_ext::nn
