// Operators with the schema of rope and rope_ that do nothing: what a call costs before any work is
// done. Loaded by scripts/bench_rope.py.
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include "ops/rope/arguments.h"

namespace roformer_ext::ops {
namespace {

at::Tensor noop(const RopeArguments& a) { return at::empty_like(a.x); }
void noop_(const RopeArguments&) {}

}  // namespace
}  // namespace roformer_ext::ops

TORCH_LIBRARY(roformer_ext_bench, m) {
  m.def(
      "noop(Tensor x, Tensor cos, Tensor sin, Tensor? position_ids=None, *, bool "
      "interleaved=False, int seq_dim=-2, "
      "int rotary_offset=0, int? heads=None, bool conj=False) -> Tensor");
  m.def(
      "noop_(Tensor(a!) x, Tensor cos, Tensor sin, Tensor? position_ids=None, *, bool "
      "interleaved=False, "
      "int seq_dim=-2, int rotary_offset=0, int? heads=None, bool conj=False) -> Tensor(a!)");
}

TORCH_LIBRARY_IMPL(roformer_ext_bench, CPU, m) {
  using namespace roformer_ext::ops;
  m.impl("noop", &flat<noop>);
  m.impl("noop_", &flat_<noop_>);
}
