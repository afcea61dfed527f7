// Which rows go through the model together.
//
// The idea: rows of similar length, so that little of a batch is padding.
#pragma once

#include <cstddef>
#include <vector>

namespace fill_mask {

// The places of `lengths`, each once, in batches of at most `most` (at least 1), the shortest rows
// first.
std::vector<std::vector<std::size_t>> batches_of(const std::vector<std::size_t>& lengths,
                                                 std::size_t most);

}  // namespace fill_mask
