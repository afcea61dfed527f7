// How a rotation is cut into units, and whether its output bypasses the caches.
#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>
#endif

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

// Note [Streaming into fresh memory]
// A page that was never touched is zeroed by the kernel on first access, which leaves its lines in
// the cache: writing past the cache then costs a second trip to memory, where a plain store costs
// none. Allocators take large blocks straight from the system, so the question is worth one system
// call: a page from the middle that is not resident says that the block is fresh.
bool is_fresh([[maybe_unused]] const void* memory, [[maybe_unused]] std::int64_t bytes) {
#if defined(__linux__)
  const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  char* middle = static_cast<char*>(const_cast<void*>(memory)) + bytes / 2;
  middle -= reinterpret_cast<std::uintptr_t>(middle) % page;
  unsigned char resident = 1;
  return mincore(middle, 1, &resident) == 0 && (resident & 1u) == 0;
#else
  return false;
#endif
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
  plan.stream = !core::in_place(p) && bytes > stream_above && streamable(p, element) &&
                !is_fresh(p.out, bytes);
  plan.prefetch = bytes > kPrefetchAbove;
  return plan;
}

}  // namespace roformer_ext::cpu
