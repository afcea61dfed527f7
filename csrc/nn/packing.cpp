// All that decides comes to the host in one read, as in roformer_ext/packing.py.
#include "nn/packing.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/nonzero_static.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <c10/util/Exception.h>

#include <numeric>
#include <utility>

#include "nn/losses.h"

namespace roformer_ext::nn {
namespace {

using at::Tensor;

// The tokens of every row, and after them how many places of padding are read.
std::vector<std::int64_t> counts_of(const Tensor& tokens, const Reads& reads) {
  const Tensor padding = tokens.logical_not();
  Tensor read = at::zeros({1}, tokens.options().dtype(at::kLong));
  if (reads.first) read = read + padding.select(1, 0).sum();
  if (reads.targets) read = read + reads.targets->ne(kIgnored).logical_and(padding).sum();
  const Tensor counts = at::cat({tokens.sum(1), read}).cpu();
  const auto* begin = counts.const_data_ptr<std::int64_t>();
  return {begin, begin + counts.numel()};
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
  if (mask->numel() == 0 || (!unpad && !mask->is_cpu())) return {};
  const Tensor tokens = mask->ne(0);
  std::vector<std::int64_t> lengths = counts_of(tokens, reads);
  const bool read = lengths.back() > 0;
  lengths.pop_back();
  TORCH_CHECK_VALUE(!(unpad && read), "unpad must not be true where ",
                    reads.targets ? "a label" : "the first token of a sequence",
                    " stands on padding");
  const std::int64_t total = std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0});
  const std::int64_t dropped = mask->numel() - total;
  if (read || total == 0 || dropped == 0 || (!unpad && 10 * dropped < mask->numel())) return {};
  std::erase(lengths, 0);
  return Packing{.lengths = std::move(lengths),
                 .places = at::nonzero_static(tokens.flatten(), total).squeeze(1),
                 .batch = shape[0],
                 .seq = shape[1]};
}

}  // namespace roformer_ext::nn
