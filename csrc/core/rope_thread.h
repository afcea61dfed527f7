// What one CUDA thread does in the rotary operator. It compiles for the host as well, where a loop
// over blocks and threads executes a whole launch, so that index and arithmetic are tested without
// a GPU.
//
// The work is bound by memory: all loads of a thread are issued before the first use, the table row
// of its token is read once and kept in registers for all of its heads, and values that pass
// through are moved as bits.
//
// What must stay true: a thread reads each of its elements before it writes it, and no other thread
// touches them (core/rope_launch.h); register arrays are indexed by constants of unrolled loops
// only; no id is used as a row before it has been checked.
#pragma once

#include <cstdint>
#include <type_traits>

#include "core/rope_launch.h"
#include "core/rope_pack.h"
#include "core/rope_pair.h"

namespace roformer_ext::core {

// The slot of one thread: where it lies, and how it is moved and turned. `Offset` is int32 or
// int64.
template <class T, RopeAccess kAccess, class Offset>
struct RopeSlot {
  using A = typename Arithmetic<T>::type;
  static constexpr int kLanes = rope_lanes(kAccess, sizeof(T));
  static constexpr int kMembers = kAccess == RopeAccess::kNeighbours ? 1 : 2;  // accesses
  static constexpr int kPairs = kLanes * kMembers / 2;
  static constexpr int kBytes = kLanes * sizeof(T);
  static constexpr int kUnroll = rope_unroll(kAccess);
  struct Bits {
    RopePack<kBytes> member[kMembers];
  };

  const RopeParams& p;
  const RopeLaunch& launch;
  Offset batch = 0, seq = 0, group = 0, slot = 0;

  ROFORMER_EXT_INLINE bool rotated() const {
    return slot < static_cast<Offset>(launch.rotated_slots);
  }

  ROFORMER_EXT_INLINE bool scalar_neighbours() const {
    return kAccess == RopeAccess::kScalar && p.interleaved;
  }

  // The first channel of the slot.
  ROFORMER_EXT_INLINE Offset channel() const {
    const Offset start = static_cast<Offset>(p.offset);
    if (rotated()) return start + slot * (scalar_neighbours() ? 2 : kLanes);
    const Offset place = (slot - static_cast<Offset>(launch.rotated_slots)) * kLanes;
    return place < start ? place : place + 2 * static_cast<Offset>(p.pairs);
  }

  // Element offset of the slot in head 0 of the group.
  ROFORMER_EXT_INLINE Offset place(const RopeStrides& s, Offset channel) const {
    return batch * static_cast<Offset>(s.batch) + seq * static_cast<Offset>(s.seq) +
           group * static_cast<Offset>(s.group) + channel * static_cast<Offset>(s.channel);
  }

  // Elements between the two members.
  ROFORMER_EXT_INLINE Offset gap(const RopeStrides& s) const {
    return static_cast<Offset>(s.channel) *
           (scalar_neighbours() ? 1 : static_cast<Offset>(p.pairs));
  }

  ROFORMER_EXT_INLINE std::int64_t id() const {
    const Offset at = batch * static_cast<Offset>(p.ids.batch_stride) +
                      seq * static_cast<Offset>(p.ids.seq_stride);
    return p.ids.is_int64 ? static_cast<const std::int64_t*>(p.ids.data)[at]
                          : static_cast<const std::int32_t*>(p.ids.data)[at];
  }

  ROFORMER_EXT_INLINE void read_table(Offset row, Offset head, A (&cos)[kPairs],
                                      A (&sin)[kPairs]) const {
    const auto at = [&](const RopeStrides& s) {
      return batch * static_cast<Offset>(s.batch) + row * static_cast<Offset>(s.seq) +
             group * static_cast<Offset>(s.group) + head * static_cast<Offset>(s.head) +
             slot * kPairs * static_cast<Offset>(s.channel);
    };
    read_row(p.cos, at(p.cos.strides), launch.cos_aligned, cos);
    read_row(p.sin, at(p.sin.strides), launch.sin_aligned, sin);
    ROFORMER_EXT_UNROLL
    for (int i = 0; i < kPairs; ++i) sin[i] = p.conj ? -sin[i] : sin[i];
  }

  ROFORMER_EXT_INLINE static void turn(Bits& bits, const A (&cos)[kPairs], const A (&sin)[kPairs]) {
    auto x = bit_cast<RopeLanes<T, 2 * kPairs>>(bits);
    A y[2 * kPairs];
    ROFORMER_EXT_UNROLL
    for (int i = 0; i < kPairs; ++i) {
      const int first = kMembers == 2 ? i : 2 * i;
      const int second = kMembers == 2 ? i + kLanes : 2 * i + 1;
      rotate_pair<A>(to_arithmetic(x.lane[first]), to_arithmetic(x.lane[second]), cos[i], sin[i],
                     y[first], y[second]);
    }
    ROFORMER_EXT_UNROLL
    for (int i = 0; i < 2 * kPairs; i += 2) from_arithmetic(y[i], y[i + 1], x.lane + i);
    bits = bit_cast<Bits>(x);
  }
};

// Moves, and turns where `turned` and `row` say so, the heads first, first + chunks, ... of a slot.
template <class T, RopeAccess kAccess, class Offset>
ROFORMER_EXT_INLINE void visit_heads(const RopeSlot<T, kAccess, Offset>& slot, Offset row,
                                     Offset first, Offset heads, Offset turned) {
  using Slot = RopeSlot<T, kAccess, Offset>;
  constexpr int kUnroll = Slot::kUnroll;
  const RopeParams& p = slot.p;
  const bool both = Slot::kMembers == 2 && slot.rotated();  // what passes through has one member
  const Offset channel = slot.channel();
  const T* x = static_cast<const T*>(p.x) + slot.place(p.x_strides, channel);
  const T* x_second = x + slot.gap(p.x_strides);
  T* out = static_cast<T*>(p.out) + slot.place(p.out_strides, channel);
  T* out_second = out + slot.gap(p.out_strides);
  const Offset x_stride = static_cast<Offset>(p.x_strides.head);
  const Offset out_stride = static_cast<Offset>(p.out_strides.head);

  // One round over all heads, or, where heads have tables of their own, a round for each.
  const bool per_head = table_per_head(p);
  const Offset step = static_cast<Offset>(slot.launch.chunks);
  for (Offset round = first; round < heads; round += per_head ? step : heads) {
    const Offset end = per_head ? round + 1 : heads;
    typename Slot::Bits bits[kUnroll];
    ROFORMER_EXT_UNROLL
    for (int k = 0; k < kUnroll; ++k) {
      const Offset head = round + k * step;
      if (head < end) bits[k].member[0] = load_pack<Slot::kBytes>(x + head * x_stride);
      if (head < end && both) {
        bits[k].member[Slot::kMembers - 1] = load_pack<Slot::kBytes>(x_second + head * x_stride);
      }
    }
    typename Slot::A cos[Slot::kPairs] = {};
    typename Slot::A sin[Slot::kPairs] = {};
    if (round < turned) slot.read_table(row, round, cos, sin);
    ROFORMER_EXT_UNROLL
    for (int k = 0; k < kUnroll; ++k) {
      const Offset head = round + k * step;
      if (head < turned && head < end) Slot::turn(bits[k], cos, sin);
      if (head < end) store_pack<Slot::kBytes>(out + head * out_stride, bits[k].member[0]);
      if (head < end && both) {
        store_pack<Slot::kBytes>(out_second + head * out_stride,
                                 bits[k].member[Slot::kMembers - 1]);
      }
    }
  }
}

// Runs one thread of the launch. False when the id of its token is neither -1 nor a row of the
// table: nothing has been read through that id, and nothing written, then.
template <class T, RopeAccess kAccess, class Offset>
ROFORMER_EXT_INLINE bool rope_thread(const RopeParams& p, const RopeLaunch& launch,
                                     std::int64_t block, int thread) {
  using Index = std::make_unsigned_t<Offset>;  // division is cheaper
  const Index index = static_cast<Index>(block) * kRopeBlock + static_cast<Index>(thread);
  if (index >= static_cast<Index>(launch.threads)) return true;

  // Slots fastest, then chunks of heads, groups, tokens.
  Index rest = index;
  const auto take = [&rest](std::int64_t count) {
    const Index whole = rest / static_cast<Index>(count);
    const Index part = rest - whole * static_cast<Index>(count);
    rest = whole;
    return static_cast<Offset>(part);
  };
  RopeSlot<T, kAccess, Offset> slot{p, launch};
  slot.slot = take(launch.slots);
  const Offset first = take(launch.chunks);
  if (launch.groups > 1) slot.group = take(launch.groups);
  slot.seq = take(p.seq);
  slot.batch = static_cast<Offset>(rest);

  Offset row = slot.seq;
  bool turns = slot.rotated();
  if (p.ids.data != nullptr) {
    const std::int64_t id = slot.id();
    if (id < -1 || id >= p.ids.rows) return false;
    turns = turns && id != -1;
    row = static_cast<Offset>(id);
  }
  // Rotated heads are counted over groups.
  const Offset before = slot.group * static_cast<Offset>(p.heads);
  const Offset rotated = static_cast<Offset>(p.rotated_heads);
  const Offset turned = turns && rotated > before ? rotated - before : 0;
  const Offset visited = static_cast<Offset>(launch.heads);
  const Offset heads = in_place(p) && turned < visited ? turned : visited;
  visit_heads(slot, row, first, heads, turned);
  return true;
}

}  // namespace roformer_ext::core
