// Where the composite stands in for a kernel: vmap, and devices that have none of ours; and
// functionalization, which turns the in-place operator into the functional one.
#include <torch/library.h>

#include "ops/rope/arguments.h"

namespace roformer_ext::ops {
namespace {

void functional_rope_(const RopeArguments& a) { a.x.copy_(call_rope(a)); }

}  // namespace
}  // namespace roformer_ext::ops

TORCH_LIBRARY_IMPL(roformer_ext, FuncTorchBatched, m) {
  using namespace roformer_ext::ops;
  m.impl("rope", &flat<rope_composite>);
  m.impl("rope_", &flat_<rope_composite_>);
  m.impl("rope_full_width", &flat<rope_full_width_composite>);
  m.impl("_rope_composite", &flat<rope_composite>);
}

TORCH_LIBRARY_IMPL(roformer_ext, CompositeExplicitAutograd, m) {
  using namespace roformer_ext::ops;
  m.impl("rope", &flat<rope_composite>);
  m.impl("rope_", &flat_<rope_composite_>);
}

TORCH_LIBRARY_IMPL(roformer_ext, CompositeImplicitAutograd, m) {
  using namespace roformer_ext::ops;
  m.impl("rope_full_width", &flat<rope_full_width_composite>);
  m.impl("_rope_composite", &flat<rope_composite>);
}

TORCH_LIBRARY_IMPL(roformer_ext, Functionalize, m) {
  using namespace roformer_ext::ops;
  m.impl("rope_", &flat_<functional_rope_>);
}
