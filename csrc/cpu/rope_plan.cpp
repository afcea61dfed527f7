// How a rotation is cut into units, and whether its output bypasses the caches.
#include <algorithm>

#include "cpu/rope.h"

namespace roformer_ext::cpu {
namespace {

// Every vector that a row writes must begin on an aligned address.
bool streamable(const core::RopeParams& p, std::int64_t element) {
  const core::RopeStrides& s = p.out_strides;
  const std::int64_t row_starts = s.batch | s.seq | s.group | s.head | p.offset | p.head_dim;
  const std::int64_t member_starts = p.interleaved ? 2 * p.pairs : p.pairs;
  return s.channel == 1 && p.x_strides.channel == 1 && p.pairs > 0 &&
         ((row_starts | member_starts) * element) % kStreamAlignment == 0 &&
         reinterpret_cast<std::uintptr_t>(p.out) % kStreamAlignment == 0;
}

}  // namespace

RopePlan plan_rope(const core::RopeParams& p, std::int64_t workers, std::int64_t stream_above) {
  RopePlan plan;
  const std::int64_t fits =
      std::min(kMaxTile, kTableValues / std::max<std::int64_t>(2 * p.pairs, 1));
  plan.tile = std::max<std::int64_t>(1, std::min(fits, p.batch * p.seq / (2 * workers)));
  plan.tiles_per_batch = (p.seq + plan.tile - 1) / plan.tile;
  plan.units = p.batch * plan.tiles_per_batch;
  const std::int64_t element = core::element_size(p.dtype);
  const std::int64_t bytes = p.batch * p.seq * p.groups * p.heads * p.head_dim * element;
  plan.stream = !core::in_place(p) && bytes > stream_above && streamable(p, element);
  return plan;
}

}  // namespace roformer_ext::cpu
