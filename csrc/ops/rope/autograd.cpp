// Derivatives of `rope`.
//
// The map is linear in x, and its transpose is the same kernel with `conj` flipped: nothing is
// saved but tables and ids. Everything else (gradients to the tables, forward-mode tangents,
// functorch layers) steps aside to the composite, whose ATen operators carry their own derivatives.
#include <ATen/TensorSubclassLikeUtils.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torch/csrc/autograd/VariableTypeUtils.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "ops/rope/params.h"

namespace roformer_ext::ops {
namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

bool has_tangent(const Tensor& t) { return t.defined() && t._fw_grad(/*level=*/0).defined(); }

bool needs_composite(const RopeArguments& a) {
  return c10::impl::tls_is_dispatch_key_included(c10::DispatchKey::FuncTorchDynamicLayerBackMode) ||
         (at::GradMode::is_enabled() && (a.cos.requires_grad() || a.sin.requires_grad())) ||
         has_tangent(a.x) || has_tangent(a.cos) || has_tangent(a.sin);
}

// Moving the version counter would refuse such a tensor, but only after the write.
void check_not_inference(const RopeArguments& a) {
  TORCH_CHECK(!a.x.is_inference() || c10::InferenceMode::is_enabled(),
              "rope_: x must not be an inference tensor outside InferenceMode, since it is "
              "overwritten, got one of sizes ",
              a.x.sizes());
}

bool needs_graph(const RopeArguments& a) {
  return at::GradMode::is_enabled() && a.x.requires_grad();
}

// Note [Rotating the incoming gradient in place]
// The transpose may overwrite the gradient that the engine hands over, which saves an allocation
// and a pass over fresh memory, but only if nobody else can see it: no graph is being built, it is
// a plain dense tensor, this is its only reference, no other tensor looks at its storage (a view
// whose base has no other owner than the view is all right), and the storage is torch's own: one
// that cannot be resized belongs to numpy, DLPack or a caller's buffer.
bool sole_owner(const Tensor& grad) {
  if (at::GradMode::is_enabled() || grad.requires_grad() || at::isTensorSubclassLike(grad))
    return false;
  if (grad.layout() != at::kStrided || grad.use_count() != 1 ||
      !grad.is_non_overlapping_and_dense())
    return false;
  const c10::Storage& storage = grad.storage();
  if (!storage.resizable()) return false;
  const bool view_of_private_base = grad.is_view() && grad._base().use_count() == 1;
  return storage.use_count() == (view_of_private_base ? 2u : 1u);
}

void save(AutogradContext* ctx, const RopeArguments& a) {
  ctx->save_for_backward({a.cos, a.sin, a.has_ids() ? *a.position_ids : Tensor()});
  const RopeOptions& o = a.options;
  ctx->saved_data["interleaved"] = o.interleaved;
  ctx->saved_data["seq_dim"] = o.seq_dim;
  ctx->saved_data["rotary_offset"] = o.rotary_offset;
  ctx->saved_data["heads"] = o.heads;
  ctx->saved_data["conj"] = o.conj;
}

// One gradient for each argument of `forward`: x, cos, sin, ids, options and, in place, the
// context.
variable_list transpose(AutogradContext* ctx, variable_list& grads, std::size_t arguments) {
  variable_list result(arguments);
  if (!grads[0].defined()) return result;
  const variable_list saved = ctx->get_saved_variables();
  const std::optional<Tensor> ids =
      saved[2].defined() ? std::optional<Tensor>(saved[2]) : std::nullopt;
  const RopeOptions options{
      ctx->saved_data["interleaved"].toBool(), ctx->saved_data["seq_dim"].toInt(),
      ctx->saved_data["rotary_offset"].toInt(), ctx->saved_data["heads"].toOptional<std::int64_t>(),
      !ctx->saved_data["conj"].toBool()};
  const Tensor grad = std::move(grads[0]);
  const RopeArguments a{grad, saved[0], saved[1], ids, options};
  if (sole_owner(grad)) {
    const at::AutoDispatchBelowADInplaceOrView below;
    call_rope_(a);
    result[0] = grad;
  } else {
    result[0] = call_rope(a);
  }
  return result;
}

struct RopeFunction : torch::autograd::Function<RopeFunction> {
  static constexpr bool is_traceable = true;

  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& cos, const Tensor& sin,
                        const std::optional<Tensor>& ids, const RopeOptions& options) {
    const RopeArguments a{x, cos, sin, ids, options};
    save(ctx, a);
    const at::AutoDispatchBelowAutograd below;
    return call_rope(a);
  }

  static variable_list backward(AutogradContext* ctx, variable_list& grads) {
    return transpose(ctx, grads, 5);
  }
};

struct RopeInplaceFunction : torch::autograd::Function<RopeInplaceFunction> {
  static constexpr bool is_traceable = true;

  static Tensor forward(AutogradContext* ctx, Tensor x, const Tensor& cos, const Tensor& sin,
                        const std::optional<Tensor>& ids, const RopeOptions& options,
                        AutogradContext** context) {
    *context = ctx;
    const RopeArguments a{x, cos, sin, ids, options};
    save(ctx, a);
    {
      // Grad mode is off inside a Function. A tracer below would record the write as one that needs
      // no gradient, and gradients of a compiled graph would silently be wrong.
      const at::AutoGradMode grad_mode(true);
      const at::AutoDispatchBelowADInplaceOrView below;
      call_rope_(a);
    }
    ctx->mark_dirty({x});
    return x;
  }

  static variable_list backward(AutogradContext* ctx, variable_list& grads) {
    return transpose(ctx, grads, 6);
  }
};

Tensor rope_autograd(const RopeArguments& a) {
  if (needs_composite(a)) return rope_composite(a);
  if (needs_graph(a)) return RopeFunction::apply(a.x, a.cos, a.sin, a.position_ids, a.options);
  const at::AutoDispatchBelowAutograd below;
  return call_rope(a);
}

void rope_version_(const RopeArguments& a) {
  check_not_inference(a);
  {
    const at::AutoDispatchBelowADInplaceOrView below;
    call_rope_(a);
  }
  torch::autograd::increment_version(a.x);
}

void rope_autograd_(const RopeArguments& a) {
  const bool tables_need_grad = a.cos.requires_grad() || a.sin.requires_grad();
  if (at::GradMode::is_enabled() && (a.x.requires_grad() || tables_need_grad)) {
    torch::autograd::check_inplace(a.x, /*requires_grad=*/true);
  }
  if (needs_composite(a)) {
    // The composite ends in copy_, which would refuse some of what must not be written, and write
    // the rest.
    check_not_inference(a);
    if (!at::isTensorSubclassLike(a.x)) {
      check_rope<c10::SymInt>(a);
      check_writable(a);
    }
    return rope_composite_(a);
  }
  if (needs_graph(a)) {
    AutogradContext* ctx = nullptr;
    RopeInplaceFunction::apply(a.x, a.cos, a.sin, a.position_ids, a.options, &ctx);
    // The list has served its purpose; compiled autograd refuses a node that still has one.
    ctx->mark_dirty({});
    return;
  }
  rope_version_(a);  // what the key below would do, without another trip through the dispatcher
}

}  // namespace
}  // namespace roformer_ext::ops

TORCH_LIBRARY_IMPL(roformer_ext, Autograd, m) {
  using namespace roformer_ext::ops;
  m.impl("rope", &flat<rope_autograd>);
  m.impl("rope_", &flat_<rope_autograd_>);
}

TORCH_LIBRARY_IMPL(roformer_ext, ADInplaceOrView, m) {
  using namespace roformer_ext::ops;
  m.impl("rope_", &flat_<rope_version_>);
}
