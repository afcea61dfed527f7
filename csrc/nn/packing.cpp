// The mask is read on the host, so on another device dropping costs one wait.
#include "nn/packing.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>
#include <c10/util/Exception.h>

#include <numeric>

#include "nn/losses.h"

namespace roformer_ext::nn {
namespace {

using at::Tensor;

bool reads_padding(const Tensor& tokens, const Reads& reads) {
  if (reads.first && !tokens.select(1, 0).all().item<bool>()) return true;
  return reads.targets &&
         reads.targets->ne(kIgnored).logical_and(tokens.logical_not()).any().item<bool>();
}

}  // namespace

Tensor Packing::pack(const Tensor& x) const {
  auto shape = x.sizes().vec();
  if (x.dim() == 1) shape.insert(shape.begin(), batch);
  shape[0] = batch;
  return x.expand(shape).flatten(0, 1).index_select(0, places).unsqueeze(0);
}

Tensor Packing::pad(const Tensor& x) const {
  auto shape = x.sizes().vec();
  shape[0] = batch * seq;
  shape.erase(shape.begin() + 1);
  const Tensor padded = x.new_zeros(shape).index_copy(0, places, x.squeeze(0));
  return padded.unflatten(0, at::IntArrayRef({batch, seq}));
}

Tensor Packing::first(const Tensor& x) const {
  std::vector<std::int64_t> begins(lengths.size());
  std::exclusive_scan(lengths.begin(), lengths.end(), begins.begin(), std::int64_t{0});
  return x.squeeze(0).index_select(0, at::tensor(begins, places.options()));
}

std::optional<Packing> drop_padding(const std::optional<Tensor>& mask, at::IntArrayRef shape,
                                    std::optional<bool> unpad, const Reads& reads) {
  if (!mask || unpad == false) return {};
  if (mask->sizes() != shape) {
    TORCH_CHECK_VALUE(!unpad, "unpad must not be true with an attention_mask of shape ",
                      mask->sizes());
    return {};
  }
  if (!unpad && !mask->is_cpu()) return {};
  const Tensor tokens = mask->ne(0);
  const Tensor counts = tokens.sum(1).cpu();
  Packing packing{.lengths = {}, .places = {}, .batch = shape[0], .seq = shape[1]};
  std::int64_t total = 0;
  for (std::int64_t row = 0; row < packing.batch; ++row) {
    const auto length = counts[row].item<std::int64_t>();
    if (length > 0) packing.lengths.push_back(length);
    total += length;
  }
  const std::int64_t dropped = mask->numel() - total;
  if (total == 0 || dropped == 0 || (!unpad && 10 * dropped < mask->numel())) return {};
  if (reads_padding(tokens, reads)) {
    TORCH_CHECK_VALUE(!unpad, "unpad must not be true where ",
                      reads.targets ? "a label" : "the first token of a sequence",
                      " stands on padding");
    return {};
  }
  packing.places = tokens.flatten().nonzero().squeeze(1);
  return packing;
}

}  // namespace roformer_ext::nn
