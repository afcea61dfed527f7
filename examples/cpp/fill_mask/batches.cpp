#include "batches.h"

#include <algorithm>
#include <numeric>

namespace fill_mask {

std::vector<std::vector<std::size_t>> batches_of(const std::vector<std::size_t>& lengths,
                                                 std::size_t most) {
  std::vector<std::size_t> order(lengths.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, {}, [&](std::size_t place) { return lengths[place]; });
  std::vector<std::vector<std::size_t>> batches;
  for (const std::size_t place : order) {
    if (batches.empty() || batches.back().size() == most) batches.emplace_back();
    batches.back().push_back(place);
  }
  return batches;
}

}  // namespace fill_mask
