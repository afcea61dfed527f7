// Chooses the instantiation of the rotary kernel; the contract is in cuda/rope.h.
#include <cuda_runtime.h>

#include "core/rope_launch.h"
#include "cuda/rope.h"

namespace roformer_ext::cuda {

using core::RopeLaunch;
using core::RopeParams;

template <class T>
void launch_element(const RopeParams& params, const RopeLaunch& launch, cudaStream_t stream);
extern template void launch_element<float>(const RopeParams&, const RopeLaunch&, cudaStream_t);
extern template void launch_element<double>(const RopeParams&, const RopeLaunch&, cudaStream_t);
extern template void launch_element<core::BFloat16>(const RopeParams&, const RopeLaunch&,
                                                    cudaStream_t);
extern template void launch_element<core::Float16>(const RopeParams&, const RopeLaunch&,
                                                   cudaStream_t);

int launch_rope(const RopeParams& params, CUstream_st* stream) {
  const RopeLaunch launch = core::plan_launch(params);
  if (launch.threads == 0) return cudaSuccess;
  switch (params.dtype) {
    case core::DType::kFloat32:
      launch_element<float>(params, launch, stream);
      break;
    case core::DType::kFloat64:
      launch_element<double>(params, launch, stream);
      break;
    case core::DType::kBFloat16:
      launch_element<core::BFloat16>(params, launch, stream);
      break;
    default:
      launch_element<core::Float16>(params, launch, stream);
  }
  return cudaGetLastError();
}

}  // namespace roformer_ext::cuda
