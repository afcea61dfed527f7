// `rope` on meta tensors, and so under fake tensors: the checks and the allocation, nothing else.
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include "ops/rope/params.h"

namespace roformer_ext::ops {
namespace {

at::Tensor rope_meta(const RopeArguments& a) {
  check_rope<c10::SymInt>(a);
  return at::empty_like(a.x);
}

void rope_meta_(const RopeArguments& a) {
  check_rope<c10::SymInt>(a);
  check_writable(a);
}

}  // namespace
}  // namespace roformer_ext::ops

TORCH_LIBRARY_IMPL(roformer_ext, Meta, m) {
  using namespace roformer_ext::ops;
  m.impl("rope", &flat<rope_meta>);
  m.impl("rope_", &flat_<rope_meta_>);
}
