// Which way every token turns: the rows of cosines and sines that the operator `rope` reads.
//
// The idea: rows are computed for the positions in use, once for all layers of a forward pass. What
// must stay true: angles in float64, one rounding to float32, in a float64 model too.
#pragma once

#include <ATen/core/Tensor.h>
#include <roformer_ext/config.h>

#include <cstdint>
#include <optional>

namespace roformer_ext::nn {

struct Rotation {
  at::Tensor cos;                 // [n, D / 2], float32
  at::Tensor sin;                 // the same
  std::optional<at::Tensor> ids;  // the row of each token, -1 = leave it alone; nothing: its index
};

// The rotation of `seq_len` tokens at the indices 0, 1, ..., or at position_ids, [S] or [B, S].
Rotation rotation_of(const RoFormerConfig& config, std::int64_t seq_len,
                     const std::optional<at::Tensor>& position_ids, at::Device device);

// Turns the queries and keys, with `rotary_value` the values too, of a packed projection
// [B, S, 3, H, D] in place, adjacent channels being pairs.
at::Tensor rotate_packed(const at::Tensor& packed, const Rotation& rotation, bool rotary_value);

}  // namespace roformer_ext::nn
