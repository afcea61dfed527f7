// The three of them as ATen operators.
#include "nn/parts.h"

#include <ATen/ops/embedding.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/rms_norm.h>

namespace roformer_ext::nn {
Linear::Linear(const Scope& scope, std::int64_t in, std::int64_t out, bool with_bias) {
  weight = register_parameter("weight", scope.take("weight", {out, in}, {Start::kNormal}));
  if (with_bias) bias = register_parameter("bias", scope.take("bias", {out}, {Start::kZero}));
}

at::Tensor Linear::forward(const at::Tensor& x) const { return at::linear(x, weight, given(bias)); }

Norm::Norm(const Scope& scope, std::int64_t width, const RoFormerConfig& config)
    : width_(width), eps_(config.layer_norm_eps), rms_(config.norm_type == "rms_norm") {
  if (rms_) return;
  weight_ = register_parameter("weight", scope.take("weight", {width}, {Start::kOne}));
  if (config.use_bias) {
    bias_ = register_parameter("bias", scope.take("bias", {width}, {Start::kZero}));
  }
}

at::Tensor Norm::forward(const at::Tensor& x) const {
  if (rms_) return at::rms_norm(x, {width_}, {}, eps_);
  return at::layer_norm(x, {width_}, weight_, given(bias_), eps_);
}

Embedding::Embedding(const Scope& scope, std::int64_t rows, std::int64_t width,
                     std::optional<std::int64_t> padding)
    : padding_(padding.value_or(-1)) {
  weight =
      register_parameter("weight", scope.take("weight", {rows, width}, {Start::kNormal, padding}));
}

at::Tensor Embedding::forward(const at::Tensor& ids) const {
  return at::embedding(weight, ids, padding_);
}

}  // namespace roformer_ext::nn
