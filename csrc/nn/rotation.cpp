// Angles pos * base^(-2i/D), i from 0 (RoFormer, arXiv 2104.09864, Eq. 15).
#include "nn/rotation.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/where.h>
#include <roformer_ext/ops.h>

namespace roformer_ext::nn {

Rotation rotation_of(const RoFormerConfig& config, std::int64_t seq_len,
                     const std::optional<at::Tensor>& position_ids, at::Device device) {
  const auto real = at::TensorOptions().dtype(at::kDouble).device(device);
  const auto width = static_cast<double>(config.head_dim());
  const at::Tensor exponents = at::arange(config.head_dim() / 2, real);
  const at::Tensor theta = at::pow(config.rope_theta, exponents * -2 / width) / config.rope_factor;
  const at::Tensor positions =
      position_ids ? position_ids->reshape({-1}).to(real) : at::arange(seq_len, real);
  const at::Tensor angles = positions.unsqueeze(-1) * theta;
  Rotation rotation{angles.cos().to(at::kFloat), angles.sin().to(at::kFloat), {}};
  if (position_ids) {
    const auto own_row = at::arange(position_ids->numel(), position_ids->options());
    // Only valid ids are replaced: -1 still means "leave alone", and -2 is refused.
    rotation.ids = at::where(position_ids->lt(0), *position_ids, own_row.view_as(*position_ids));
  }
  return rotation;
}

at::Tensor rotate_packed(const at::Tensor& packed, const Rotation& rotation, bool rotary_value) {
  RopeOptions options;
  options.interleaved = true;
  options.seq_dim = 1;
  options.heads = (rotary_value ? 3 : 2) * packed.size(3);
  return rope_(packed, rotation.cos, rotation.sin, rotation.ids, options);
}

}  // namespace roformer_ext::nn
