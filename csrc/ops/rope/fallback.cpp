// Where there is no kernel of ours: devices such as MPS and XPU, the operators that are composites
// everywhere, and nested tensors, which the composite's checks refuse.
#include <torch/library.h>

#include "ops/rope/arguments.h"

TORCH_LIBRARY_IMPL(roformer_ext, CompositeExplicitAutograd, m) {
  using namespace roformer_ext::ops;
  m.impl("rope", &flat<rope_composite>);
  m.impl("rope_", &flat_<rope_composite_>);
}

TORCH_LIBRARY_IMPL(roformer_ext, NestedTensorCPU, m) {
  using namespace roformer_ext::ops;
  m.impl("rope", &flat<rope_composite>);
  m.impl("rope_", &flat_<rope_composite_>);
}

TORCH_LIBRARY_IMPL(roformer_ext, NestedTensorCUDA, m) {
  using namespace roformer_ext::ops;
  m.impl("rope", &flat<rope_composite>);
  m.impl("rope_", &flat_<rope_composite_>);
}

TORCH_LIBRARY_IMPL(roformer_ext, CompositeImplicitAutograd, m) {
  using namespace roformer_ext::ops;
  m.impl("rope_full_width", &flat<rope_full_width_composite>);
  m.impl("_rope_composite", &flat<rope_composite>);
}
