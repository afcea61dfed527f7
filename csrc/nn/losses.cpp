// Sums over labelled elements, divided by their number.
#include "nn/losses.h"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>

namespace roformer_ext::nn {
namespace {

using at::Tensor;

Tensor exact(const Tensor& x) { return x.to(c10::promoteTypes(x.scalar_type(), at::kFloat)); }

bool is_integer(const Tensor& labels) {
  return labels.scalar_type() == at::kLong || labels.scalar_type() == at::kInt;
}

}  // namespace

Tensor class_loss(const Tensor& logits, const Tensor& labels) {
  TORCH_CHECK_VALUE(is_integer(labels), "labels must be int32 or int64, got ",
                    labels.scalar_type());
  return at::cross_entropy_loss(exact(logits), labels.to(at::kLong), {}, at::Reduction::Mean,
                                kIgnored);
}

Tensor sequence_loss(const Tensor& logits, Tensor labels, std::string problem_type) {
  const std::int64_t count = logits.size(0), classes = logits.size(1);
  const bool one_each = labels.sizes() == at::IntArrayRef({count});
  if (problem_type.empty()) {
    problem_type =
        is_integer(labels) ? "single_label_classification" : "multi_label_classification";
    if (classes == 1) problem_type = "regression";
  }
  if (problem_type == "single_label_classification") {
    if (labels.dim() == 2 && labels.size(1) == 1) labels = labels.squeeze(1);
    TORCH_CHECK_VALUE(labels.sizes() == at::IntArrayRef({count}), "labels must be integers [B] = [",
                      count, "], got ", labels.sizes());
    return class_loss(logits, labels);
  }
  if (classes == 1 && one_each) labels = labels.unsqueeze(1);
  TORCH_CHECK_VALUE(labels.sizes() == logits.sizes(),
                    "labels must be [B, num_labels] = ", logits.sizes(), " for ", problem_type,
                    ", got ", labels.sizes());
  const Tensor scores = exact(logits);
  labels = labels.to(scores.scalar_type());
  const Tensor labelled = labels.ne(kIgnored);
  const Tensor losses =
      problem_type == "regression"
          ? at::mse_loss(scores, labels, at::Reduction::None)
          : at::binary_cross_entropy_with_logits(scores, labels, {}, {}, at::Reduction::None);
  return at::where(labelled, losses, 0.0).sum() / labelled.sum();
}

}  // namespace roformer_ext::nn
