// How one CUDA launch divides the rotation of a tensor among its threads; decided on the host,
// without asking a device.
//
// A row of channels is cut into slots. A slot is what one thread moves of one head: one or two
// 16-byte vectors (kNeighbours, kHalves) or one pair of single elements (kScalar), and, out of
// place, one vector or element of the channels that pass through. A thread owns one slot of one
// token and group and visits every `chunks`-th head, so that the table row is read once and stays
// in registers, while the threads of a warp touch neighbouring heads.
//
// What must stay true: every element belongs to exactly one thread, which makes x == out safe.
#pragma once

#include <cstdint>

#include "core/rope_params.h"

namespace roformer_ext::core {

inline constexpr int kRopeBlock = 128;  // threads
inline constexpr int kRopeVectorBytes = 16;

// Below this many threads a launch trades reuse of the table row for parallelism: it is about what
// 132 multiprocessors hold.
inline constexpr std::int64_t kRopeEnoughThreads = std::int64_t{1} << 17;

enum class RopeAccess : std::uint8_t {
  kScalar,      // any strides, any width, both layouts
  kHalves,      // half layout: a vector of first members and a vector of second members
  kNeighbours,  // adjacent layout: one vector of whole pairs
};

struct RopeLaunch {
  RopeAccess access = RopeAccess::kScalar;
  bool wide_offsets = false;  // 64-bit element offsets and thread numbers
  bool cos_aligned = false;   // table rows may be read in vectors
  bool sin_aligned = false;
  std::int64_t rotated_slots = 0;  // of a head; these come first
  std::int64_t slots = 0;          // of a head, those that pass through included
  std::int64_t groups = 0;         // visited
  std::int64_t heads = 0;          // visited, per group
  std::int64_t chunks = 0;         // threads that share the heads of one slot
  std::int64_t threads = 0;        // 0: nothing to do
};

// Elements that a thread moves in one access.
constexpr int rope_lanes(RopeAccess access, std::int64_t size) {
  return access == RopeAccess::kScalar ? 1 : static_cast<int>(kRopeVectorBytes / size);
}

// Heads that a thread takes at most, so that eight accesses are in flight.
constexpr int rope_unroll(RopeAccess access) { return access == RopeAccess::kNeighbours ? 8 : 4; }

struct RopeSizes {
  std::int64_t batch, seq, groups, heads, channels;
};

// Whether rows of channels are contiguous and start on vector boundaries.
inline bool rows_aligned(const void* data, std::int64_t size, const RopeStrides& s,
                         const RopeSizes& n) {
  const std::int64_t lanes = kRopeVectorBytes / size;
  const auto even = [lanes](std::int64_t count, std::int64_t stride) {
    return count <= 1 || stride % lanes == 0;
  };
  return reinterpret_cast<std::uintptr_t>(data) % kRopeVectorBytes == 0 &&
         (n.channels <= 1 || s.channel == 1) && even(n.batch, s.batch) && even(n.seq, s.seq) &&
         even(n.groups, s.group) && even(n.heads, s.head);
}

// The largest element offset that a thread computes.
inline std::int64_t last_offset(const RopeStrides& s, const RopeSizes& n) {
  const auto reach = [](std::int64_t count, std::int64_t stride) {
    return count > 1 ? (count - 1) * stride : 0;
  };
  return reach(n.batch, s.batch) + reach(n.seq, s.seq) + reach(n.groups, s.group) +
         reach(n.heads, s.head) + reach(n.channels, s.channel);
}

// Slots, groups and heads: what there is to move, in which pieces.
inline void divide_rows(const RopeParams& p, const RopeSizes& n, RopeLaunch& launch) {
  const std::int64_t size = element_size(p.dtype);
  const std::int64_t lanes = kRopeVectorBytes / size;
  const std::int64_t member = p.interleaved ? 2 * p.pairs : p.pairs;  // neighbours of one member
  const std::int64_t rest = in_place(p) ? 0 : p.head_dim - 2 * p.pairs;
  if ((p.offset | member | rest) % lanes == 0 && rows_aligned(p.x, size, p.x_strides, n) &&
      rows_aligned(p.out, size, p.out_strides, n)) {
    launch.access = p.interleaved ? RopeAccess::kNeighbours : RopeAccess::kHalves;
  }
  const bool scalar = launch.access == RopeAccess::kScalar;
  launch.rotated_slots = scalar ? p.pairs : member / lanes;
  launch.slots = launch.rotated_slots + (scalar ? rest : rest / lanes);
  const std::int64_t heads = in_place(p) ? p.rotated_heads : p.groups * p.heads;
  launch.heads = heads < p.heads ? heads : p.heads;
  launch.groups = heads == 0 ? 0 : (heads + p.heads - 1) / p.heads;
  if (launch.slots * heads == 0) {
    // Nothing to move, but ids are still to be checked.
    launch.heads = 0;
    launch.groups = launch.slots = p.ids.data != nullptr ? 1 : 0;
  }
}

inline RopeLaunch plan_launch(const RopeParams& p) {
  RopeLaunch launch;
  const RopeSizes n{p.batch, p.seq, p.groups, p.heads, p.head_dim};
  const RopeSizes rows{p.batch, p.ids.data != nullptr ? p.ids.rows : p.seq, p.groups, p.heads,
                       p.pairs};
  divide_rows(p, n, launch);
  launch.cos_aligned = rows_aligned(p.cos.data, element_size(p.cos.dtype), p.cos.strides, rows);
  launch.sin_aligned = rows_aligned(p.sin.data, element_size(p.sin.dtype), p.sin.strides, rows);

  const std::int64_t rows_of_slots = p.batch * p.seq * launch.groups * launch.slots;
  std::int64_t per_thread = rope_unroll(launch.access);
  const auto chunks = [&] {
    return launch.heads == 0 ? 1 : (launch.heads + per_thread - 1) / per_thread;
  };
  while (per_thread > 1 && rows_of_slots * chunks() < kRopeEnoughThreads) per_thread /= 2;
  launch.chunks = chunks();
  launch.threads = rows_of_slots * launch.chunks;

  const std::int64_t limit = INT32_MAX - kRopeBlock;  // the last block counts past the last thread
  const RopeStrides ids{p.ids.batch_stride, p.ids.seq_stride, 0, 0, 0};
  launch.wide_offsets = launch.threads > limit || last_offset(p.x_strides, n) > limit ||
                        last_offset(p.out_strides, n) > limit ||
                        last_offset(p.cos.strides, rows) > limit ||
                        last_offset(p.sin.strides, rows) > limit || last_offset(ids, n) > limit;
  return launch;
}

}  // namespace roformer_ext::core
