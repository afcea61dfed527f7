// One layer of the encoder, and the pile of them.
//
// The idea: two sublayers, attention and feed-forward, each followed by dropout, its residual and a
// norm (post-norm, as in BERT). What must stay true: module names are those of the checkpoints.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "nn/activation.h"
#include "nn/attention.h"
#include "nn/parts.h"

namespace roformer_ext::nn {

// Norm(dropout(W x) + residual): how both sublayers end.
class Residual : public torch::nn::Module {
 public:
  Residual(const Scope& scope, std::int64_t width, const RoFormerConfig& config);
  at::Tensor forward(const at::Tensor& x, const at::Tensor& residual) const;

 private:
  double dropout_;
  std::shared_ptr<Linear> dense_;
  std::shared_ptr<Norm> norm_;
};

class Layer : public torch::nn::Module {
 public:
  Layer(const Scope& scope, const RoFormerConfig& config);
  // [B, S, C] to [B, S, C].
  at::Tensor forward(const at::Tensor& hidden, const AttentionMask& mask,
                     const Rotation& rotation) const;

 private:
  // [..., C] to [..., C], each token by itself.
  at::Tensor feed_forward(const at::Tensor& x) const;

  std::int64_t widened_;
  Activation activation_;
  std::shared_ptr<SelfAttention> attention_;
  std::shared_ptr<Residual> attention_output_;
  std::shared_ptr<Linear> widen_;
  std::shared_ptr<Residual> output_;
};

// All layers, under the name that checkpoints give them.
class Layers : public torch::nn::Module {
 public:
  Layers(const Scope& scope, const RoFormerConfig& config);
  // [B, S, C] to [B, S, C].
  at::Tensor forward(at::Tensor hidden, const AttentionMask& mask, const Rotation& rotation) const;

 private:
  std::vector<std::shared_ptr<Layer>> layers_;
};

}  // namespace roformer_ext::nn
