// Parameters of a model that no file has: as `roformer_ext/layer.py` draws them.
#include "nn/parameters.h"

#include <ATen/ops/empty.h>

namespace roformer_ext::nn {

at::Tensor DrawnParameters::take(const std::string&, at::IntArrayRef shape, const Start& start) {
  at::Tensor result = at::empty(shape, at::kFloat);
  switch (start.kind) {
    case Start::kNormal:
      result.normal_(0.0, deviation_);
      break;
    case Start::kZero:
      result.zero_();
      break;
    case Start::kOne:
      result.fill_(1.0);
      break;
  }
  if (start.zero_row) result.select(0, *start.zero_row).zero_();
  return result;
}

}  // namespace roformer_ext::nn
