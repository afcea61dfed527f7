// Who sees whom: padding, a user's own mask, causality and a prefix, in the one form that attention
// takes.
//
// The idea: every rule becomes an additive mask, or the causal flag where that says all. What must
// stay true: masked keys get a weight of exactly zero, and a query whose keys are all masked gets
// the uniform average, as in roformer_ext/mask.py.
#pragma once

#include <ATen/core/Tensor.h>
#include <roformer_ext/config.h>

#include <cstdint>
#include <optional>

namespace roformer_ext::nn {

struct AttentionMask {
  std::optional<at::Tensor> additive = {};  // [B or 1, H or 1, S or 1, S], in the queries' dtype
  std::optional<at::Tensor> seeing = {};    // [B or 1, H or 1, S or 1, 1], 0 for queries that see
                                            // no key at all, 1 for the others
  bool causal = false;                      // query m sees the keys up to m
};

// mask, token_type_ids: as in encoder.h. hidden: [B, S, C], of the dtype that queries will have.
AttentionMask prepare_mask(const RoFormerConfig& config, const at::Tensor& hidden,
                           const std::optional<at::Tensor>& mask,
                           const std::optional<at::Tensor>& token_type_ids);

}  // namespace roformer_ext::nn
