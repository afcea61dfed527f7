// The rotary kernel for float16 elements.
#include "cuda/rope_kernel.cuh"

namespace roformer_ext::cuda {

template void launch_element<core::Float16>(const RopeParams&, const RopeLaunch&, cudaStream_t);

}  // namespace roformer_ext::cuda
