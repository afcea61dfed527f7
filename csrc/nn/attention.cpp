// Self-attention on `scaled_dot_product_attention` and the operator `rope_`.
#include "nn/attention.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_unsafe_view.h>
#include <ATen/ops/as_strided.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <c10/core/GradMode.h>
#include <c10/core/InferenceMode.h>

#include <array>
#include <vector>

namespace roformer_ext::nn {
namespace {

using at::Tensor;
using Three = std::array<Tensor, 3>;

bool follows(const Tensor& first, const Tensor& second) {
  return first.is_contiguous() && second.is_contiguous() &&
         first.storage().is_alias_of(second.storage()) &&
         first.storage_offset() + first.numel() == second.storage_offset();
}

// The rows of all three. Autograd has to see three tensors, so with it this is a copy.
Tensor stacked(const Three& parts) {
  const bool side_by_side = follows(parts[0], parts[1]) && follows(parts[1], parts[2]);
  if (c10::GradMode::is_enabled() || !side_by_side) return at::cat(parts);
  auto sizes = parts[0].sizes().vec();
  sizes[0] *= 3;
  return at::as_strided(parts[0], sizes, parts[0].strides(), parts[0].storage_offset());
}

// [1, T, 3, H, D] to [1, T, H, D], every sequence by itself.
Tensor attend_packed(const Tensor& packed, const PackedMask& mask, bool causal, double dropout) {
  std::vector<Tensor> done;
  done.reserve(mask.lengths.size());
  for (const Tensor& sequence : packed.split_with_sizes(mask.lengths, 1)) {
    const auto parts = sequence.transpose(1, 3).unbind(2);
    std::optional<Tensor> additive;
    if (!mask.additive.empty()) additive = mask.additive[done.size()];
    done.push_back(
        at::scaled_dot_product_attention(parts[0], parts[1], parts[2], additive, dropout, causal)
            .transpose(1, 2));
  }
  return at::cat(done, 1);
}

void move_together(const Three& parts) {
  const c10::InferenceMode normal(false);
  const at::NoGradGuard no_grad;
  const Tensor together = at::cat(parts);
  const auto thirds = together.chunk(3);
  for (std::size_t index = 0; index < 3; ++index) parts[index].set_data(thirds[index]);
}

}  // namespace

SelfAttention::SelfAttention(const Scope& scope, const RoFormerConfig& config)
    : heads_(config.num_attention_heads),
      head_dim_(config.head_dim()),
      dropout_(config.attention_probs_dropout_prob),
      rotary_value_(config.rotary_value) {
  const auto project = [&](const char* name) {
    return register_module(
        name, child<Linear>(scope, name, config.hidden_size, config.hidden_size, config.use_bias));
  };
  query_ = project("query");
  key_ = project("key");
  value_ = project("value");
  pack();
}

Tensor SelfAttention::forward(const Tensor& hidden, const AttentionMask& mask,
                              const Rotation& rotation) const {
  const std::int64_t batch = hidden.size(0), seq = hidden.size(1), width = hidden.size(2);
  const Tensor weight = stacked({query_->weight, key_->weight, value_->weight});
  std::optional<Tensor> bias;
  if (query_->bias.defined()) bias = stacked({query_->bias, key_->bias, value_->bias});
  Tensor packed = at::linear(hidden.reshape({batch * seq, width}), weight, bias);
  // Not a view: the backward of an in-place change to a view copies the whole gradient.
  packed = at::_unsafe_view(packed, {batch, seq, 3, heads_, head_dim_});
  packed = rotate_packed(packed, rotation, rotary_value_);
  const double dropout = is_training() ? dropout_ : 0.0;
  if (mask.packed) {
    return attend_packed(packed, *mask.packed, mask.causal, dropout).reshape({batch, seq, width});
  }
  const auto parts = packed.unbind(2);
  Tensor query = parts[0].transpose(1, 2);
  if (mask.seeing) query = query * *mask.seeing;
  const Tensor context =
      at::scaled_dot_product_attention(query, parts[1].transpose(1, 2), parts[2].transpose(1, 2),
                                       mask.additive, dropout, mask.causal);
  return context.transpose(1, 2).reshape({batch, seq, width});
}

void SelfAttention::to(torch::Device device, torch::Dtype dtype, bool non_blocking) {
  Module::to(device, dtype, non_blocking);
  pack();
}

void SelfAttention::to(torch::Dtype dtype, bool non_blocking) {
  Module::to(dtype, non_blocking);
  pack();
}

void SelfAttention::to(torch::Device device, bool non_blocking) {
  Module::to(device, non_blocking);
  pack();
}

void SelfAttention::pack() {
  move_together({query_->weight, key_->weight, value_->weight});
  if (query_->bias.defined()) move_together({query_->bias, key_->bias, value_->bias});
}

}  // namespace roformer_ext::nn
