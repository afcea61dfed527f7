// `rope` on CUDA: checks on the host, then one launch on the current stream; no synchronisation.
#include <ATen/ops/empty_like.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include "cuda/rope.h"
#include "ops/rope/params.h"

namespace roformer_ext::ops {
namespace {

void rotate(const RopeArguments& a, const RopeShape<std::int64_t>& shape, const at::Tensor& out) {
  if (a.x.numel() == 0) return;
  const int status =
      cuda::launch_rope(rope_params(a, shape, out), c10::cuda::getCurrentCUDAStream().stream());
  C10_CUDA_CHECK(static_cast<cudaError_t>(status));
}

at::Tensor rope_cuda(const RopeArguments& a) {
  const auto shape = check_rope<std::int64_t>(a);
  const c10::cuda::CUDAGuard guard(a.x.device());
  at::Tensor out = at::empty_like(a.x);
  rotate(a, shape, out);
  return out;
}

void rope_cuda_(const RopeArguments& a) {
  const auto shape = check_rope<std::int64_t>(a);
  check_writable(a);
  const c10::cuda::CUDAGuard guard(a.x.device());
  rotate(a, shape, a.x);
}

}  // namespace
}  // namespace roformer_ext::ops

TORCH_LIBRARY_IMPL(roformer_ext, CUDA, m) {
  using namespace roformer_ext::ops;
  m.impl("rope", &flat<rope_cuda>);
  m.impl("rope_", &flat_<rope_cuda_>);
}
