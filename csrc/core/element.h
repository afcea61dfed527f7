// The element types of the operators: how each is stored, and the type its arithmetic runs in.
//
// The half types are plain 16-bit words here, so that this header needs neither torch nor CUDA.
// Rounding is to nearest even and keeps subnormals, as torch does; any NaN may become any other
// NaN.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/macros.h"

namespace roformer_ext::core {

enum class DType : std::uint8_t { kFloat32, kFloat64, kBFloat16, kFloat16 };

// In bytes.
ROFORMER_EXT_INLINE constexpr std::int64_t element_size(DType dtype) {
  return dtype == DType::kFloat64 ? 8 : dtype == DType::kFloat32 ? 4 : 2;
}

struct BFloat16 {
  std::uint16_t bits;
};

struct Float16 {
  std::uint16_t bits;
};

template <class To, class From>
ROFORMER_EXT_INLINE To bit_cast(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  memcpy(&to, &from, sizeof(To));
  return to;
}

// The type in which values of T are multiplied and added.
template <class T>
struct Arithmetic {
  using type = float;
};
template <>
struct Arithmetic<double> {
  using type = double;
};

ROFORMER_EXT_INLINE float widen(BFloat16 x) {
  return bit_cast<float>(static_cast<std::uint32_t>(x.bits) << 16);
}

ROFORMER_EXT_INLINE float widen(Float16 x) {
  const std::uint32_t sign = static_cast<std::uint32_t>(x.bits & 0x8000u) << 16;
  const std::uint32_t magnitude = x.bits & 0x7fffu;
  if (magnitude >= 0x7c00u) {  // infinity or NaN: the exponent field is all ones in both formats
    return bit_cast<float>(sign | 0x7f800000u | (magnitude << 13));
  }
  if (magnitude >= 0x0400u) {
    return bit_cast<float>(sign | ((magnitude << 13) + 0x38000000u));
  }
  // Subnormal: an integer multiple of 2^-24, which float32 holds exactly.
  const float value = static_cast<float>(magnitude) * 5.9604644775390625e-8f;
  return bit_cast<float>(sign | bit_cast<std::uint32_t>(value));
}

ROFORMER_EXT_INLINE float widen(float x) { return x; }
ROFORMER_EXT_INLINE double widen(double x) { return x; }

ROFORMER_EXT_INLINE void narrow(float x, BFloat16& to) {
  const std::uint32_t u = bit_cast<std::uint32_t>(x);
  const std::uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  to.bits = static_cast<std::uint16_t>(x != x ? 0x7fc0u : rounded);
}

ROFORMER_EXT_INLINE void narrow(float x, Float16& to) {
  const std::uint32_t u = bit_cast<std::uint32_t>(x);
  const std::uint32_t sign = (u >> 16) & 0x8000u;
  const std::uint32_t magnitude = u & 0x7fffffffu;
  std::uint32_t rounded;
  if (magnitude > 0x7f800000u) {
    rounded = 0x7e00u;
  } else if (magnitude >= 0x47800000u) {  // 2^16 and above, infinity included
    rounded = 0x7c00u;
  } else if (magnitude >=
             0x38800000u) {  // normal in float16; a carry out of the mantissa may reach infinity
    rounded = (magnitude - 0x38000000u + 0x0fffu + ((magnitude >> 13) & 1u)) >> 13;
  } else {
    // Subnormal: adding 0.5 leaves the value as an integer multiple of 2^-24 in the low bits,
    // rounded to even by the addition itself.
    const float shifted = bit_cast<float>(magnitude) + 0.5f;
    rounded = bit_cast<std::uint32_t>(shifted) - 0x3f000000u;
  }
  to.bits = static_cast<std::uint16_t>(sign | rounded);
}

ROFORMER_EXT_INLINE void narrow(float x, float& to) { to = x; }
ROFORMER_EXT_INLINE void narrow(double x, double& to) { to = x; }

// Reads element `index` of a table of any dtype in arithmetic type A.
template <class A>
ROFORMER_EXT_INLINE A load_as(const void* data, DType dtype, std::int64_t index) {
  switch (dtype) {
    case DType::kFloat32:
      return static_cast<A>(static_cast<const float*>(data)[index]);
    case DType::kFloat64:
      return static_cast<A>(static_cast<const double*>(data)[index]);
    case DType::kBFloat16:
      return static_cast<A>(widen(static_cast<const BFloat16*>(data)[index]));
    default:
      return static_cast<A>(widen(static_cast<const Float16*>(data)[index]));
  }
}

}  // namespace roformer_ext::core
