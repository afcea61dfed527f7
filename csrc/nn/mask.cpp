// The same steps as roformer_ext/mask.py; see Note [Queries that see nothing] there.
#include "nn/mask.h"

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>
#include <c10/core/GradMode.h>

#include <limits>

namespace roformer_ext::nn {
namespace {

using at::Tensor;

// The dtype in which a Linear computes.
at::ScalarType compute_dtype(const Tensor& x) {
  const auto device = x.device().type();
  if (x.scalar_type() == at::kDouble || !at::autocast::is_autocast_enabled(device)) {
    return x.scalar_type();
  }
  return at::autocast::get_autocast_dtype(device);
}

// Half of the lowest number: it swallows every score, and survives a factor of log2(e).
double lowest(at::ScalarType dtype) {
  switch (dtype) {
    case at::kDouble:
      return std::numeric_limits<double>::lowest() / 2;
    case at::kHalf:
      return std::numeric_limits<c10::Half>::lowest() / 2.0;
    case at::kBFloat16:
      return std::numeric_limits<c10::BFloat16>::lowest() / 2.0;
    default:
      return std::numeric_limits<float>::lowest() / 2;
  }
}

Tensor additive_of(const Tensor& mask, at::ScalarType dtype) {
  const double low = lowest(dtype);
  if (mask.scalar_type() != at::kBool) return mask.clamp_min(low).to(dtype);
  return at::where(mask, at::zeros({}, mask.options().dtype(dtype)), low).to(dtype);
}

AttentionMask masked(const Tensor& mask, at::ScalarType dtype) {
  const Tensor additive = additive_of(mask, dtype);
  if (dtype != at::kHalf && !c10::GradMode::is_enabled()) return {.additive = additive};
  const Tensor seeing = additive.gt(lowest(dtype)).any(-1, true);
  return {.additive = additive.masked_fill(seeing.logical_not(), 0.0), .seeing = seeing.to(dtype)};
}

// [B, S] to [B, 1, S, S].
Tensor visible_by(const Tensor& stages) {
  return stages.unsqueeze(1).le(stages.unsqueeze(2)).unsqueeze(1);
}

Tensor both(const std::optional<Tensor>& one, const Tensor& other) {
  return one ? one->logical_and(other) : other;
}

void check_four(const Tensor& mask, at::IntArrayRef wanted) {
  bool fits = mask.size(3) == wanted[3];
  for (int dim = 0; dim < 3; ++dim) {
    fits = fits && (mask.size(dim) == 1 || mask.size(dim) == wanted[dim]);
  }
  TORCH_CHECK_VALUE(fits, "a 4-D attention_mask must broadcast to [B, H, Q, K] = ", wanted,
                    ", got ", mask.sizes());
  TORCH_CHECK_VALUE(mask.scalar_type() == at::kBool || mask.is_floating_point(),
                    "a 4-D attention_mask must be bool or floating, got ", mask.scalar_type());
}

}  // namespace

std::optional<Tensor> prefix_stages(const RoFormerConfig& config, at::IntArrayRef shape,
                                    const std::optional<Tensor>& token_type_ids) {
  if (!config.prefix_lm || !token_type_ids) return {};
  return token_type_ids->expand(shape).to(at::kLong).cumsum(-1);
}

AttentionMask prepare_mask(const RoFormerConfig& config, const Tensor& hidden,
                           const std::optional<Tensor>& mask, const std::optional<Tensor>& stages) {
  const auto dtype = compute_dtype(hidden);
  const std::int64_t batch = hidden.size(0), seq = hidden.size(1);
  if (mask && mask->dim() == 4) {
    check_four(*mask, {batch, config.num_attention_heads, seq, seq});
    return masked(*mask, dtype);
  }
  std::optional<Tensor> visible;
  if (mask) {
    TORCH_CHECK_VALUE(mask->sizes() == at::IntArrayRef({batch, seq}),
                      "attention_mask must be [B, S] = [", batch, ", ", seq, "] or 4-D, got ",
                      mask->sizes());
    visible = mask->ne(0).unsqueeze(1).unsqueeze(1);
  }
  if (stages) {
    visible = both(visible, visible_by(*stages));
  } else if (config.is_decoder && !visible) {
    return {.causal = true};
  } else if (config.is_decoder) {
    visible = both(visible, at::ones({seq, seq}, visible->options()).tril());
  }
  return visible ? masked(*visible, dtype) : AttentionMask{};
}

AttentionMask packed_mask(const RoFormerConfig& config, const Tensor& hidden,
                          const std::vector<std::int64_t>& lengths,
                          const std::optional<Tensor>& stages) {
  PackedMask packed{.lengths = lengths};
  if (stages) {
    const auto dtype = compute_dtype(hidden);
    for (const Tensor& own : stages->split_with_sizes(lengths, 1)) {
      packed.additive.push_back(additive_of(visible_by(own), dtype));
    }
  }
  return {.causal = config.is_decoder, .packed = packed};
}

}  // namespace roformer_ext::nn
