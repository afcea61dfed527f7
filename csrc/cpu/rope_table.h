// Brings one token's table row into the order that a row kernel reads.
//
// Conversion to the arithmetic type, odd strides and the transpose (sine's sign) all end here, so
// that row kernels see plain arrays. The cost is shared by all heads of the token.
#pragma once

#include "core/rope_params.h"
#include "cpu/rope_row.h"

namespace roformer_ext::cpu::ROFORMER_EXT_ISA {

template <class Stored, class A>
void read_values(const void* data, std::int64_t at, std::int64_t stride, std::int64_t count,
                 A* to) {
  const Stored* from = static_cast<const Stored*>(data) + at;
  for (std::int64_t i = 0; i < count; ++i) to[i] = static_cast<A>(core::widen(from[i * stride]));
}

// `count` values of a table row beginning at element `at`, as A: in place where the memory already
// is that, otherwise by way of `buffer`.
template <class A>
const A* table_values(const core::RopeTable& table, std::int64_t at, std::int64_t count,
                      A* buffer) {
  const std::int64_t stride = table.strides.channel;
  switch (table.dtype) {
    case core::DType::kFloat32:
      if constexpr (sizeof(A) == sizeof(float)) {
        if (stride == 1) return static_cast<const A*>(table.data) + at;
      }
      read_values<float>(table.data, at, stride, count, buffer);
      break;
    case core::DType::kFloat64:
      if constexpr (sizeof(A) == sizeof(double)) {
        if (stride == 1) return static_cast<const A*>(table.data) + at;
      }
      read_values<double>(table.data, at, stride, count, buffer);
      break;
    case core::DType::kBFloat16:
      read_values<core::BFloat16>(table.data, at, stride, count, buffer);
      break;
    case core::DType::kFloat16:
      read_values<core::Float16>(table.data, at, stride, count, buffer);
      break;
  }
  return buffer;
}

// Any NaN becomes the one whose lower half is zero: Note [NaN in bfloat16 rows].
ROFORMER_EXT_INLINE float canonical(float x) {
  return x == x ? x : core::bit_cast<float>(0x7fc00000u);
}
ROFORMER_EXT_INLINE double canonical(double x) { return x; }

template <class A, std::size_t... kIndex>
ROFORMER_EXT_INLINE void separate(const A* from, A* to, std::index_sequence<kIndex...>) {
  const auto low = load<Vector<A>>(from), high = load<Vector<A>>(from + kLanes<A>);
  store(to, __builtin_shufflevector(low, high, (2 * kIndex)...));
  store(to + kLanes<A>, __builtin_shufflevector(low, high, (2 * kIndex + 1)...));
}

// The even ones of two vectors of entries, then the odd ones.
template <class A>
ROFORMER_EXT_INLINE void separate(const A* from, A* to) {
  separate(from, to, std::make_index_sequence<kLanes<A>>());
}

template <Arrange kArrange, class A>
ROFORMER_EXT_INLINE void arrange(const A* cos, const A* sin, bool conj, std::int64_t count,
                                 A* cos_to, A* sin_to) {
  const A sign = conj ? A(-1) : A(1);
  if constexpr (kArrange == Arrange::kNatural) {
    for (std::int64_t i = 0; i < count; ++i) {
      cos_to[i] = canonical(cos[i]);
      sin_to[i] = canonical(sign * sin[i]);
    }
  } else if constexpr (kArrange == Arrange::kRepeated) {
    for (std::int64_t i = 0; i < count; ++i) {
      cos_to[2 * i] = cos_to[2 * i + 1] = cos[i];
      sin_to[2 * i] = -sign * sin[i];
      sin_to[2 * i + 1] = sign * sin[i];
    }
  } else {
    constexpr std::int64_t kBlock = 2 * kLanes<A>;
    std::int64_t i = 0;
    for (; i + kBlock <= count; i += kBlock) {
      A clean_cos[kBlock], clean_sin[kBlock];
      arrange<Arrange::kNatural>(cos + i, sin + i, conj, kBlock, clean_cos, clean_sin);
      separate(clean_cos, cos_to + i);
      separate(clean_sin, sin_to + i);
    }
    arrange<Arrange::kNatural>(cos + i, sin + i, conj, count - i, cos_to + i, sin_to + i);
  }
}

}  // namespace roformer_ext::cpu::ROFORMER_EXT_ISA
