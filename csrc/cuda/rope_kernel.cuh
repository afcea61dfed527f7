// The rotary kernel and its launch for one element type; each rope_<dtype>.cu instantiates it, so
// that they compile side by side. The body of the kernel is core/rope_thread.h, which the tests
// execute on the host.
//
// Registers are capped so that six blocks share a multiprocessor: 768 threads with eight 16-byte
// loads each, several times what it takes to keep memory busy. Assertions stay on in every build:
// they are how a bad id is reported.
#pragma once

#undef NDEBUG
#include <cassert>
#include <cstdint>

#include "core/rope_thread.h"

namespace roformer_ext::cuda {

using core::RopeAccess;
using core::RopeLaunch;
using core::RopeParams;

template <class Offset>
inline constexpr int kBlocksPerMultiprocessor = sizeof(Offset) == 4 ? 6 : 3;

template <class T, RopeAccess kAccess, class Offset>
__global__ void __launch_bounds__(core::kRopeBlock, kBlocksPerMultiprocessor<Offset>)
    rope_kernel(const __grid_constant__ RopeParams params,
                const __grid_constant__ RopeLaunch launch) {
  const bool position_ids_are_rows_or_minus_one = core::rope_thread<T, kAccess, Offset>(
      params, launch, blockIdx.x, static_cast<int>(threadIdx.x));
  assert(position_ids_are_rows_or_minus_one);
}

template <class T, RopeAccess kAccess>
void launch_access(const RopeParams& params, const RopeLaunch& launch, cudaStream_t stream) {
  constexpr int kBlock = core::kRopeBlock;
  const auto blocks = static_cast<unsigned>((launch.threads + kBlock - 1) / kBlock);
  if (launch.wide_offsets) {
    rope_kernel<T, kAccess, std::int64_t><<<blocks, kBlock, 0, stream>>>(params, launch);
  } else {
    rope_kernel<T, kAccess, std::int32_t><<<blocks, kBlock, 0, stream>>>(params, launch);
  }
}

template <class T>
void launch_element(const RopeParams& params, const RopeLaunch& launch, cudaStream_t stream) {
  switch (launch.access) {
    case RopeAccess::kHalves:
      return launch_access<T, RopeAccess::kHalves>(params, launch, stream);
    case RopeAccess::kNeighbours:
      return launch_access<T, RopeAccess::kNeighbours>(params, launch, stream);
    default:
      return launch_access<T, RopeAccess::kScalar>(params, launch, stream);
  }
}

}  // namespace roformer_ext::cuda
