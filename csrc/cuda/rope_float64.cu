// The rotary kernel for float64 elements.
#include "cuda/rope_kernel.cuh"

namespace roformer_ext::cuda {

template void launch_element<double>(const RopeParams&, const RopeLaunch&, cudaStream_t);

}  // namespace roformer_ext::cuda
