// The half types: every value survives widening and rounding back; rounding agrees with float64
// arithmetic everywhere.
#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#else
#include <catch2/catch.hpp>
#endif

#include <cmath>
#include <random>

#include "core/element.h"

namespace roformer_ext {
namespace {

template <class Half>
float widened(std::uint32_t bits) {
  return core::widen(Half{static_cast<std::uint16_t>(bits)});
}

template <class Half>
std::uint32_t narrowed(float x) {
  Half half;
  core::narrow(x, half);
  return half.bits;
}

// The nearer of the two neighbours of x, the even one when they are equally near. `largest` is the
// largest finite value.
template <class Half>
std::uint32_t nearest(float x, std::uint32_t largest) {
  const std::uint32_t sign = std::signbit(x) ? 0x8000u : 0u;
  const double magnitude = std::fabs(static_cast<double>(x));
  std::uint32_t low = 0, high = largest + 1;  // bits of infinity
  while (high - low > 1) {
    const std::uint32_t middle = (low + high) / 2;
    (static_cast<double>(widened<Half>(middle)) <= magnitude ? low : high) = middle;
  }
  const double below = widened<Half>(low);
  const double step =
      low == largest ? below - widened<Half>(low - 1) : widened<Half>(low + 1) - below;
  const double excess = (magnitude - below) / step;
  const bool up = excess > 0.5 || (excess == 0.5 && (low & 1u));
  return sign | (up ? low + 1 : low);
}

template <class Half>
void check_half(std::uint32_t largest) {
  for (std::uint32_t bits = 0; bits < 0x10000u; ++bits) {
    const float x = widened<Half>(bits);
    if (std::isnan(x)) {
      CHECK((bits & 0x7fffu) > largest + 1);
      CHECK(std::isnan(widened<Half>(narrowed<Half>(x))));
    } else if (narrowed<Half>(x) != bits) {
      FAIL("value " << bits << " came back as " << narrowed<Half>(x));
    }
  }
  std::mt19937 random(1);
  for (int i = 0; i < 200000; ++i) {
    // Random bits, and numbers exactly between two neighbours or one unit beside.
    float x = core::bit_cast<float>(static_cast<std::uint32_t>(random()));
    if (i % 2 != 0) {
      const std::uint32_t low = random() % largest;
      x = static_cast<float>((static_cast<double>(widened<Half>(low)) + widened<Half>(low + 1)) /
                             2);
      if (i % 3 == 1) x = std::nextafter(x, 0.0f);
      if (i % 3 == 2) x = std::nextafter(x, INFINITY);
    }
    if (std::isnan(x)) continue;
    if (narrowed<Half>(x) != nearest<Half>(x, largest)) {
      FAIL(x << " became " << narrowed<Half>(x) << " instead of " << nearest<Half>(x, largest));
    }
  }
}

TEST_CASE("float16 rounds to nearest even and keeps subnormals", "[core]") {
  check_half<core::Float16>(0x7bffu);
}

TEST_CASE("bfloat16 rounds to nearest even and keeps subnormals", "[core]") {
  check_half<core::BFloat16>(0x7f7fu);
}

TEST_CASE("no NaN becomes a number", "[core]") {
  for (const std::uint32_t bits :
       {0x7f800001u, 0x7fffffffu, 0xff800001u, 0xffffffffu, 0x7fc00000u}) {
    const float nan = core::bit_cast<float>(bits);
    CHECK(std::isnan(widened<core::Float16>(narrowed<core::Float16>(nan))));
    CHECK(std::isnan(widened<core::BFloat16>(narrowed<core::BFloat16>(nan))));
  }
}

}  // namespace
}  // namespace roformer_ext
