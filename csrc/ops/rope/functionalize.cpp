// `rope_` in a functionalized graph: the out-of-place operator, copied back.
#include <torch/library.h>

#include "ops/rope/arguments.h"

namespace roformer_ext::ops {
namespace {

void functional_rope_(const RopeArguments& a) { a.x.copy_(call_rope(a)); }

}  // namespace
}  // namespace roformer_ext::ops

TORCH_LIBRARY_IMPL(roformer_ext, Functionalize, m) {
  using namespace roformer_ext::ops;
  m.impl("rope_", &flat_<functional_rope_>);
}
