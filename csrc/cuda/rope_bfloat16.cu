// The rotary kernel for bfloat16 elements.
#include "cuda/rope_kernel.cuh"

namespace roformer_ext::cuda {

template void launch_element<core::BFloat16>(const RopeParams&, const RopeLaunch&, cudaStream_t);

}  // namespace roformer_ext::cuda
