// From checked tensors to the kernels' parameter struct.
#pragma once

#include "core/rope_params.h"
#include "ops/rope/shape.h"

namespace roformer_ext::ops {

core::RopeIds rope_ids(const at::Tensor& ids, const RopeShape<std::int64_t>& shape);

// `out` is a.x itself for the in-place operator.
core::RopeParams rope_params(const RopeArguments& a, const RopeShape<std::int64_t>& shape,
                             const at::Tensor& out);

// Throws unless x may be overwritten: no two elements of x share memory, and none with cos, sin or
// the ids. Call it after check_rope. Meta tensors have no memory to share with others; nothing is
// decided on symbolic sizes.
void check_writable(const RopeArguments& a);

}  // namespace roformer_ext::ops
