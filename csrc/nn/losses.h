// The losses of the heads, as roformer_ext/losses.py has them.
//
// The idea: a mean over whatever carries a label. What must stay true: it is computed in at least
// float32, labels of -100 take no part, and labels that do not fit are refused by c10::Error.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

namespace roformer_ext::nn {

// The label of what takes no part in a loss.
inline constexpr std::int64_t kIgnored = -100;

// Cross-entropy of logits [N, C] against classes [N], int32 or int64; NaN without a label.
at::Tensor class_loss(const at::Tensor& logits, const at::Tensor& labels);

// The loss that `problem_type` says for logits [N, C]; the contract of labels is in encoder.h.
at::Tensor sequence_loss(const at::Tensor& logits, at::Tensor labels, std::string problem_type);

}  // namespace roformer_ext::nn
