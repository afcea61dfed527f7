// Who sees whom: padding, a user's own mask, causality, a prefix and packing, in the one form that
// attention takes.
//
// The idea: every rule becomes an additive mask, or where that says all, the causal flag or the
// lengths of sequences that attend one by one. What must stay true: masked keys get a weight of
// exactly zero, and a query whose keys are all masked gets the uniform average, as in
// roformer_ext/mask.py.
#pragma once

#include <ATen/core/Tensor.h>
#include <roformer_ext/config.h>

#include <cstdint>
#include <optional>
#include <vector>

namespace roformer_ext::nn {

// Sequences of one row, each of which sees itself alone.
struct PackedMask {
  std::vector<std::int64_t> lengths;
  std::vector<at::Tensor> additive = {};  // [1, 1, L, L] for each, or none
};

struct AttentionMask {
  std::optional<at::Tensor> additive = {};  // [B or 1, H or 1, S or 1, S], in the queries' dtype
  std::optional<at::Tensor> seeing = {};    // [B or 1, H or 1, S or 1, 1], 0 for queries that see
                                            // no key at all, 1 for the others
  bool causal = false;                      // query m sees the keys up to m
  std::optional<PackedMask> packed = {};    // `additive` and `seeing` are nothing then
};

// With `prefix_lm`, the stage of every token, [B, S]: a query sees the keys up to its own stage.
// token_type_ids: as in encoder.h, or nothing, and nothing comes of it.
std::optional<at::Tensor> prefix_stages(const RoFormerConfig& config, at::IntArrayRef shape,
                                        const std::optional<at::Tensor>& token_type_ids);

// mask: as in encoder.h. hidden: [B, S, C], of the dtype that queries will have.
AttentionMask prepare_mask(const RoFormerConfig& config, const at::Tensor& hidden,
                           const std::optional<at::Tensor>& mask,
                           const std::optional<at::Tensor>& stages);

// For sequences of these lengths in one row: hidden is [1, T, C], stages are [1, T].
AttentionMask packed_mask(const RoFormerConfig& config, const at::Tensor& hidden,
                          const std::vector<std::int64_t>& lengths,
                          const std::optional<at::Tensor>& stages);

}  // namespace roformer_ext::nn
