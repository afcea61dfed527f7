// What the model holds for likely in the masked places of a batch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace fill_mask {

class Model;

using Row = std::vector<std::int64_t>;

struct Candidate {
  std::int64_t token;
  float probability;
};

// For each masked place of a row, in order, the most probable tokens, the most probable first.
using Answer = std::vector<std::vector<Candidate>>;

// The answers to rows, each of which has the id `mask`: `top_k` candidates for a place, or all
// tokens where there are fewer. Rows are padded with `padding` to the longest, which changes no
// answer.
std::vector<Answer> predict(Model& model, const std::vector<Row>& rows, std::int64_t mask,
                            std::int64_t padding, std::int64_t top_k);

}  // namespace fill_mask
