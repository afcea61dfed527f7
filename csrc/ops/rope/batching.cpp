// The batching rule of `rope` under vmap: the composite, whose ATen operators have rules of their
// own.
#include <torch/library.h>

#include "ops/rope/arguments.h"

TORCH_LIBRARY_IMPL(roformer_ext, FuncTorchBatched, m) {
  using namespace roformer_ext::ops;
  m.impl("rope", &flat<rope_composite>);
  m.impl("rope_", &flat_<rope_composite_>);
  m.impl("rope_full_width", &flat<rope_full_width_composite>);
  m.impl("_rope_composite", &flat<rope_composite>);
}
