// Schemas of the rotary operators, and their public C++ functions, which call the dispatcher.
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/library.h>

#include "ops/rope/arguments.h"

#define ROPE_ARGUMENTS                                                                             \
  "Tensor cos, Tensor sin, Tensor? position_ids=None, *, bool interleaved=False, int seq_dim=-2, " \
  "int rotary_offset=0, int? heads=None, bool conj=False"

TORCH_LIBRARY(roformer_ext, m) {
  const std::vector<at::Tag> tags{at::Tag::pt2_compliant_tag, at::Tag::flexible_layout};
  m.def("rope(Tensor x, " ROPE_ARGUMENTS ") -> Tensor", tags);
  m.def("rope_(Tensor(a!) x, " ROPE_ARGUMENTS ") -> Tensor(a!)", tags);
  m.def("rope_full_width(Tensor x, " ROPE_ARGUMENTS ") -> Tensor", tags);
  m.def("_rope_composite(Tensor x, " ROPE_ARGUMENTS ") -> Tensor", tags);
}

namespace roformer_ext {
namespace ops {
namespace {

template <class Signature>
c10::TypedOperatorHandle<Signature> handle(const char* name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<Signature>();
}

at::Tensor call(const c10::TypedOperatorHandle<FlatRope>& op, const RopeArguments& a) {
  const RopeOptions& o = a.options;
  return op.call(a.x, a.cos, a.sin, a.position_ids, o.interleaved, o.seq_dim, o.rotary_offset,
                 o.heads, o.conj);
}

}  // namespace

at::Tensor call_rope(const RopeArguments& a) {
  static const auto op = handle<FlatRope>("roformer_ext::rope");
  return call(op, a);
}

void call_rope_(const RopeArguments& a) {
  static const auto op = handle<FlatRopeInplace>("roformer_ext::rope_");
  const RopeOptions& o = a.options;
  op.call(const_cast<at::Tensor&>(a.x), a.cos, a.sin, a.position_ids, o.interleaved, o.seq_dim,
          o.rotary_offset, o.heads, o.conj);
}

at::Tensor call_rope_full_width(const RopeArguments& a) {
  static const auto op = handle<FlatRope>("roformer_ext::rope_full_width");
  return call(op, a);
}

}  // namespace ops

at::Tensor rope(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin,
                const std::optional<at::Tensor>& position_ids, const RopeOptions& options) {
  return ops::call_rope({x, cos, sin, position_ids, options});
}

at::Tensor rope_(at::Tensor x, const at::Tensor& cos, const at::Tensor& sin,
                 const std::optional<at::Tensor>& position_ids, const RopeOptions& options) {
  ops::call_rope_({x, cos, sin, position_ids, options});
  return x;
}

at::Tensor rope_full_width(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin,
                           const std::optional<at::Tensor>& position_ids,
                           const RopeOptions& options) {
  return ops::call_rope_full_width({x, cos, sin, position_ids, options});
}

}  // namespace roformer_ext
