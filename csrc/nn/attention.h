// Attention with rotary positions: one packed projection, rotated in place, then softmax.
//
// The idea: query, key and value are three parameters, as checkpoints have them, whose memory lies
// side by side, so without gradients one product reads them as one matrix. What must stay true: the
// values are the same where they do not lie so, after a load of torch's own for one.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "nn/mask.h"
#include "nn/parts.h"
#include "nn/rotation.h"

namespace roformer_ext::nn {

// softmax((R q) (R k)^T / sqrt(D)) v in every head, R the rotation of Eq. 14.
class SelfAttention : public torch::nn::Module {
 public:
  SelfAttention(const Scope& scope, const RoFormerConfig& config);

  // [B, S, C] to [B, S, C].
  at::Tensor forward(const at::Tensor& hidden, const AttentionMask& mask,
                     const Rotation& rotation) const;

  void to(torch::Device device, torch::Dtype dtype, bool non_blocking) override;
  void to(torch::Dtype dtype, bool non_blocking) override;
  void to(torch::Device device, bool non_blocking) override;

 private:
  // Moves the three parameters side by side; they stay what optimisers know.
  void pack();

  std::int64_t heads_, head_dim_;
  double dropout_;
  bool rotary_value_;
  std::shared_ptr<Linear> query_, key_, value_;
};

}  // namespace roformer_ext::nn
