// Softmax in float32.
#include "predictions.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/topk.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <tuple>

#include "model.h"

namespace fill_mask {

std::vector<Answer> predict(Model& model, const std::vector<Row>& rows, std::int64_t mask,
                            std::int64_t padding, std::int64_t top_k) {
  std::size_t length = 0;
  for (const Row& row : rows) length = std::max(length, row.size());
  const auto batch = static_cast<std::int64_t>(rows.size());
  const auto columns = static_cast<std::int64_t>(length);
  const at::Tensor ids = at::full({batch, columns}, padding, at::kLong);
  const at::Tensor tokens = at::zeros({batch, columns}, at::kLong);
  auto* id = ids.mutable_data_ptr<std::int64_t>();
  auto* token = tokens.mutable_data_ptr<std::int64_t>();
  for (const Row& row : rows) {
    std::ranges::copy(row, id);
    std::fill_n(token, row.size(), 1);
    id += columns;
    token += columns;
  }
  const at::Tensor masked = model.logits(ids, tokens, ids.eq(mask));
  const auto [probability, place] =
      at::softmax(masked, -1, at::kFloat).topk(std::min(top_k, model.vocab_size()), -1);
  const auto probabilities = probability.accessor<float, 2>();
  const auto places = place.accessor<std::int64_t, 2>();

  std::vector<Answer> answers;
  std::int64_t at = 0;
  for (const Row& row : rows) {
    for (auto& candidates : answers.emplace_back(std::ranges::count(row, mask))) {
      for (std::int64_t rank = 0; rank < place.size(1); ++rank) {
        candidates.push_back({places[at][rank], probabilities[at][rank]});
      }
      ++at;
    }
  }
  return answers;
}

}  // namespace fill_mask
