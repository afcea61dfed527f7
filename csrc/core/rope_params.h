// The seam of the rotary operator: above it tensors, below it memory.
//
// Every layout is brought to one five-dimensional form, [batch, seq, group, head, channel], before
// it reaches a kernel. `group` is the P of a packed projection [B, S, P, H, D] whose two head dims
// cannot be flattened into one; it is 1 otherwise. All strides count elements. Nothing here owns
// memory, and everything has been checked but the values of the ids on CUDA.
#pragma once

#include <cstdint>

#include "core/element.h"

namespace roformer_ext::core {

struct RopeStrides {
  std::int64_t batch = 0;
  std::int64_t seq = 0;
  std::int64_t group = 0;
  std::int64_t head = 0;
  std::int64_t channel = 0;
};

// Cosine or sine. Broadcast dims have stride 0. With ids, `strides.seq` is the distance of two
// table rows and the row of a token is its id; without, the row is the token's place along the
// sequence.
struct RopeTable {
  const void* data = nullptr;
  DType dtype = DType::kFloat32;
  RopeStrides strides;
};

struct RopeIds {
  const void* data = nullptr;  // null: no ids
  bool is_int64 = false;
  std::int64_t batch_stride = 0;
  std::int64_t seq_stride = 0;
  std::int64_t rows = 0;  // ids lie in [0, rows), or are -1: leave the token alone
};

struct RopeParams {
  const void* x = nullptr;
  void* out = nullptr;  // equal to x when in place
  DType dtype = DType::kFloat32;
  RopeStrides x_strides;
  RopeStrides out_strides;
  RopeTable cos;
  RopeTable sin;
  RopeIds ids;

  std::int64_t batch = 0;
  std::int64_t seq = 0;
  std::int64_t groups = 1;
  std::int64_t heads = 1;          // per group
  std::int64_t rotated_heads = 1;  // counted over groups * heads; the rest pass through
  std::int64_t head_dim = 0;
  std::int64_t pairs = 0;
  std::int64_t offset = 0;  // first rotated channel

  bool interleaved = false;
  bool conj = false;
};

ROFORMER_EXT_INLINE bool in_place(const RopeParams& p) { return p.x == p.out; }

ROFORMER_EXT_INLINE bool table_per_head(const RopeParams& p) {
  return p.cos.strides.head != 0 || p.cos.strides.group != 0 || p.sin.strides.head != 0 ||
         p.sin.strides.group != 0;
}

ROFORMER_EXT_INLINE std::int64_t token_offset(const RopeStrides& s, std::int64_t batch,
                                              std::int64_t seq) {
  return batch * s.batch + seq * s.seq;
}

// Offset of a head counted over all groups.
ROFORMER_EXT_INLINE std::int64_t head_offset(const RopeParams& p, const RopeStrides& s,
                                             std::int64_t head) {
  if (p.groups == 1) return head * s.head;
  return (head / p.heads) * s.group + (head % p.heads) * s.head;
}

ROFORMER_EXT_INLINE std::int64_t token_id(const RopeIds& ids, std::int64_t batch,
                                          std::int64_t seq) {
  const std::int64_t at = batch * ids.batch_stride + seq * ids.seq_stride;
  return ids.is_int64 ? static_cast<const std::int64_t*>(ids.data)[at]
                      : static_cast<const std::int32_t*>(ids.data)[at];
}

// Channels of the two members of pair i.
ROFORMER_EXT_INLINE std::int64_t first_channel(const RopeParams& p, std::int64_t pair) {
  return p.offset + (p.interleaved ? 2 * pair : pair);
}
ROFORMER_EXT_INLINE std::int64_t second_channel(const RopeParams& p, std::int64_t pair) {
  return p.offset + (p.interleaved ? 2 * pair + 1 : p.pairs + pair);
}

}  // namespace roformer_ext::core
