// The arguments of `rope` as one value, and the bridge to the dispatcher's flat argument lists.
//
// The flat list is written out here and nowhere else: kernels are functions of RopeArguments, and
// `flat<kernel>` is what gets registered.
#pragma once

#include <ATen/core/Tensor.h>

#include "roformer_ext/ops.h"

namespace roformer_ext::ops {

struct RopeArguments {
  const at::Tensor& x;
  const at::Tensor& cos;
  const at::Tensor& sin;
  const std::optional<at::Tensor>& position_ids;
  RopeOptions options;

  bool has_ids() const { return position_ids.has_value() && position_ids->defined(); }
};

using RopeKernel = at::Tensor(const RopeArguments&);
using RopeInplaceKernel = void(const RopeArguments&);

using FlatRope = at::Tensor(const at::Tensor&, const at::Tensor&, const at::Tensor&,
                            const std::optional<at::Tensor>&, bool, std::int64_t, std::int64_t,
                            std::optional<std::int64_t>, bool);
using FlatRopeInplace = at::Tensor&(at::Tensor&, const at::Tensor&, const at::Tensor&,
                                    const std::optional<at::Tensor>&, bool, std::int64_t,
                                    std::int64_t, std::optional<std::int64_t>, bool);

template <RopeKernel* kKernel>
at::Tensor flat(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin,
                const std::optional<at::Tensor>& position_ids, bool interleaved,
                std::int64_t seq_dim, std::int64_t rotary_offset, std::optional<std::int64_t> heads,
                bool conj) {
  return kKernel({x, cos, sin, position_ids, {interleaved, seq_dim, rotary_offset, heads, conj}});
}

template <RopeInplaceKernel* kKernel>
at::Tensor& flat_(at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin,
                  const std::optional<at::Tensor>& position_ids, bool interleaved,
                  std::int64_t seq_dim, std::int64_t rotary_offset,
                  std::optional<std::int64_t> heads, bool conj) {
  kKernel({x, cos, sin, position_ids, {interleaved, seq_dim, rotary_offset, heads, conj}});
  return x;
}

// Through the dispatcher, from its top.
at::Tensor call_rope(const RopeArguments& a);
void call_rope_(const RopeArguments& a);
at::Tensor call_rope_full_width(const RopeArguments& a);

// The operator as ATen operators: the batching rule, the path for tables that need gradients, for
// forward-mode tangents, for devices without a kernel, and what compilers may look into.
at::Tensor rope_composite(const RopeArguments& a);
void rope_composite_(const RopeArguments& a);
at::Tensor rope_full_width_composite(const RopeArguments& a);

}  // namespace roformer_ext::ops
