// The rotary kernel on the CPU: how the work is cut, and the function that every instruction set
// provides.
//
// A unit is a tile of neighbouring tokens of one batch entry with all of their heads. A tile's
// table rows are brought into the order that the vectors want once, stay in the first-level cache,
// and serve all heads. Units are independent: any split of [0, units) over threads gives the same
// bits.
#pragma once

#include <cstdint>

#include "core/rope_params.h"

namespace roformer_ext::cpu {

// Tokens of a tile at most.
inline constexpr std::int64_t kMaxTile = 64;
// Prepared values of cosine, and as many of sine.
inline constexpr std::int64_t kTableValues = 8192;
// Bytes; the widest vector.
inline constexpr std::int64_t kStreamAlignment = 64;
// Bytes of x; less than this is cached anyway.
inline constexpr std::int64_t kPrefetchAbove = std::int64_t{1} << 18;

struct RopePlan {
  std::int64_t tile = 1;
  std::int64_t tiles_per_batch = 0;
  std::int64_t units = 0;
  bool stream = false;    // write the output past the caches
  bool prefetch = false;  // ask for x ahead of its use
};

// `workers`: threads that will share the units; there are at least two for each where the tokens
// suffice. `stream_above`: outputs of more bytes than this are written with non-temporal stores,
// where alignment allows.
RopePlan plan_rope(const core::RopeParams& params, std::int64_t workers, std::int64_t stream_above);

using RopeKernel = void (*)(const core::RopeParams& params, const RopePlan& plan,
                            std::int64_t begin, std::int64_t end);

}  // namespace roformer_ext::cpu
