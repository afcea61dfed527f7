// Whether x may be overwritten: does it overlap itself, and does it truly share elements with a
// table or the ids?
//
// Two strided tensors can interleave without sharing a byte (a table kept beside the activations,
// say), so a comparison of address ranges would refuse too much. x's strides nest, which makes
// membership of a byte decidable digit by digit, as in a number system; the bytes of the other
// tensor are tested one by one, and only in the rare case that the address ranges meet.
#include <c10/util/Exception.h>
#include <c10/util/SmallVector.h>

#include <algorithm>

#include "ops/rope/params.h"

namespace roformer_ext::ops {
namespace {

struct Digit {
  std::int64_t stride;  // bytes
  std::int64_t size;
};
using Digits = c10::SmallVector<Digit, 8>;

// Dims of size above 1, largest stride first, with the bytes of an element as the last digit.
Digits digits_of(const at::Tensor& t) {
  const auto element = static_cast<std::int64_t>(t.element_size());
  Digits digits;
  for (std::int64_t d = 0; d < t.dim(); ++d) {
    if (t.size(d) == 1) continue;
    const Digit digit{t.stride(d) * element, t.size(d)};
    const auto behind = std::find_if(digits.begin(), digits.end(), [&](const Digit& other) {
      return other.stride < digit.stride;
    });
    digits.insert(behind, digit);
  }
  digits.push_back({1, element});
  return digits;
}

std::int64_t extent(const Digit* from, const Digit* end) {
  std::int64_t last = 0;
  for (; from != end; ++from) last += from->stride * (from->size - 1);
  return last + 1;
}

// Each stride steps over everything that the smaller ones reach.
bool nests(const Digits& digits) {
  for (std::size_t i = 0; i + 1 < digits.size(); ++i) {
    if (digits[i].stride < extent(&digits[i + 1], digits.end())) return false;
  }
  return true;
}

bool contains(const Digits& digits, std::int64_t offset) {
  if (offset < 0) return false;
  for (const Digit& digit : digits) {
    const std::int64_t index = offset / digit.stride;
    if (index >= digit.size) return false;
    offset -= index * digit.stride;
  }
  return offset == 0;
}

// Does any byte of `t`, whose first byte lies `offset` bytes behind x's, belong to x?
bool shares(const Digits& x, const Digits& t, std::size_t level, std::int64_t offset) {
  if (level == t.size()) return contains(x, offset);
  if (t[level].stride == 0) return shares(x, t, level + 1, offset);
  for (std::int64_t i = 0; i < t[level].size; ++i) {
    if (shares(x, t, level + 1, offset + i * t[level].stride)) return true;
  }
  return false;
}

void check_apart(const at::Tensor& x, const Digits& x_digits, const at::Tensor& t,
                 const char* name) {
  if (t.numel() == 0) return;
  const Digits digits = digits_of(t);
  const auto* x_begin = static_cast<const char*>(x.const_data_ptr());
  const auto* begin = static_cast<const char*>(t.const_data_ptr());
  const std::int64_t offset = begin - x_begin;
  if (offset >= extent(x_digits.begin(), x_digits.end()) ||
      offset + extent(digits.begin(), digits.end()) <= 0)
    return;
  TORCH_CHECK(!shares(x_digits, digits, 0, offset), "rope_: ", name,
              " must not share memory with x, which is overwritten, got tensors of ", t.sizes(),
              " and ", x.sizes(), " that overlap");
}

void check_tables_apart(const RopeArguments& a, const Digits& digits) {
  check_apart(a.x, digits, a.cos, "cos");
  check_apart(a.x, digits, a.sin, "sin");
  if (a.has_ids()) check_apart(a.x, digits, *a.position_ids, "position_ids");
}

}  // namespace

void check_writable(const RopeArguments& a) {
  if (a.x.unsafeGetTensorImpl()->has_symbolic_sizes_strides() || a.x.numel() == 0) return;
  const Digits digits = digits_of(a.x);
  TORCH_CHECK(nests(digits),
              "rope_: x must not overlap itself, since it is overwritten, got sizes ", a.x.sizes(),
              " with strides ", a.x.strides());
  if (!a.x.device().is_meta()) check_tables_apart(a, digits);
}

}  // namespace roformer_ext::ops
