// Public operators of roformer_ext for C++.
//
// Linking the library registers the operators with torch's dispatcher; these functions call it, so
// autograd, functorch, autocast and tracing behave as from Python.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

#include "roformer_ext/export.h"

namespace roformer_ext {

// How `rope` reads its arguments; the keyword arguments of the Python function.
struct RopeOptions {
  // Pairs are adjacent channels (RoFormer eq. 15), not channels R apart.
  bool interleaved = false;
  // Which dim of x is the sequence.
  std::int64_t seq_dim = -2;
  // The first rotated channel.
  std::int64_t rotary_offset = 0;
  // Rotate only the first `heads` heads, of a packed projection counted over P * H.
  std::optional<std::int64_t> heads = {};
  // Apply the transpose: the sign of sine flipped.
  bool conj = false;
};

// Rotary position embedding (RoFormer, arXiv 2104.09864, eq. 15 and 34). Pair i of a row of x is
// (x1, x2): channels o + i and o + R + i, or o + 2i and o + 2i + 1 when interleaved, with
// o = rotary_offset:
//
//   y1 = x1 * cos_i - x2 * sin_i
//   y2 = x1 * sin_i + x2 * cos_i
//
// x: float32, float64, bfloat16 or float16, any strides. By options.seq_dim:
//   -2: [B, H, S, D], [B, S, D] (no head dim) or [S, D];
//   1: [B, S, H, D] or [B, S, P, H, D], a packed projection;
//   0: [S, B, H, D] or [T, H, D], packed sequences.
// cos, sin: of one shape, any of the four dtypes, any strides, last dim R, 2R + o <= D. Either
//   [n, R]: a table, whose row is the position id, or the index along the sequence (then n >= S);
//   [B or 1, S, R]: a row per token, batch first in every layout;
//   as many dims as x: broadcast against x[..., :R].
// position_ids: int32 or int64, [S], [B, S] or [1, S]; only with a table. -1 leaves a token alone;
//   any other value outside [0, n) is an error on CPU and a device-side assertion on CUDA.
//
// Returns a new tensor of x's shape and dtype with the strides of empty_like(x). Channels, heads
// and tokens that are not rotated are copied bit for bit. Arithmetic is float32 (float64 for
// float64), products then the sum, one rounding. Differentiable to any order in x, cos and sin.
// Throws c10::Error, one sentence naming the argument.
ROFORMER_EXT_API at::Tensor rope(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin,
                                 const std::optional<at::Tensor>& position_ids = {},
                                 const RopeOptions& options = {});

// `rope` in place; returns x. x must not overlap itself (expanded dims) nor share memory with the
// tables or ids, and must be something that autograd allows to be changed in place. Nothing is
// written before every check has passed.
ROFORMER_EXT_API at::Tensor rope_(at::Tensor x, const at::Tensor& cos, const at::Tensor& sin,
                                  const std::optional<at::Tensor>& position_ids = {},
                                  const RopeOptions& options = {});

// `rope` with tables 2R wide that hold an entry for each member of a pair, laid out as the pairs
// are:
//
//   y1 = x1 * c1 - x2 * s1              y2 = x2 * c2 + x1 * s2
//
// and, under conj, the transpose: y1 = x1 * c1 + x2 * s2, y2 = x2 * c2 - x1 * s1. Composed of ATen
// operators.
ROFORMER_EXT_API at::Tensor rope_full_width(const at::Tensor& x, const at::Tensor& cos,
                                            const at::Tensor& sin,
                                            const std::optional<at::Tensor>& position_ids = {},
                                            const RopeOptions& options = {});

}  // namespace roformer_ext
