// One row of one head: rotates `pairs` pairs of neighbouring channels with vectors.
//
// Each element type and pair layout says in which order it wants its table (`Arrange`), so that a
// row needs no shuffle beyond one swap of neighbours. The order is made once per token and serves
// all heads. The arithmetic of a lane is core::rotate_pair's: products, then the sum. Every vector
// of both members is read before either is written, so a row may be rotated in place.
#pragma once

#include "core/rope_pair.h"
#include "cpu/simd.h"

namespace roformer_ext::cpu::ROFORMER_EXT_ISA {

// One pair without vectors; y1 and y2 may be x1 and x2.
template <class T, class A>
ROFORMER_EXT_INLINE void rotate_scalars(const T& x1, const T& x2, A cos, A sin, T& y1, T& y2) {
  A first, second;
  core::rotate_pair(core::widen(x1), core::widen(x2), cos, sin, first, second);
  core::narrow(first, y1);
  core::narrow(second, y2);
}

enum class Arrange {
  kNatural,   // c0 c1 c2 ...            s0 s1 s2 ...
  kRepeated,  // c0 c0 c1 c1 ...        -s0 s0 -s1 s1 ...
  kEvenOdd,   // per two vectors: the even entries, then the odd ones; natural behind the last full
              // two vectors
};

// Half layout: the members of a pair stand `pairs` channels apart.
template <class T, bool kInterleaved>
struct Row {
  using A = typename core::Arithmetic<T>::type;
  using W = Widened<T>;
  static constexpr Arrange kArrange = Arrange::kNatural;

  template <bool kStream>
  static ROFORMER_EXT_INLINE void rotate(const T* x, T* y, std::int64_t apart, const A* cos,
                                         const A* sin, std::int64_t pairs) {
    constexpr int kStep = kLanes<A>;
    std::int64_t i = 0;
    for (; i + kStep <= pairs; i += kStep) {
      const auto x1 = W::read(x + i), x2 = W::read(x + apart + i);
      const auto c = load<Vector<A>>(cos + i), s = load<Vector<A>>(sin + i);
      W::template write<kStream>(y + i, x1 * c - x2 * s);
      W::template write<kStream>(y + apart + i, x1 * s + x2 * c);
    }
    for (; i < pairs; ++i) {
      rotate_scalars(x[i], x[apart + i], cos[i], sin[i], y[i], y[apart + i]);
    }
  }
};

// Adjacent layout: with the table repeated and sine's sign alternating, y = x * cos + swap(x) * sin
// holds in each lane.
template <class T>
struct Row<T, true> {
  using A = typename core::Arithmetic<T>::type;
  using W = Widened<T>;
  static constexpr Arrange kArrange = Arrange::kRepeated;

  template <bool kStream>
  static ROFORMER_EXT_INLINE void rotate(const T* x, T* y, std::int64_t, const A* cos, const A* sin,
                                         std::int64_t pairs) {
    constexpr int kStep = kLanes<A>;
    std::int64_t i = 0;
    for (; i + kStep <= 2 * pairs; i += kStep) {
      const auto v = W::read(x + i);
      const auto c = load<Vector<A>>(cos + i), s = load<Vector<A>>(sin + i);
      W::template write<kStream>(y + i, v * c + swap_pairs<A>(v) * s);
    }
    for (; i < 2 * pairs; i += 2) {
      rotate_scalars(x[i], x[i + 1], cos[i], sin[i + 1], y[i], y[i + 1]);
    }
  }
};

// bfloat16 is the upper half of a float32, so a 32-bit word of two neighbours splits by a shift and
// a mask.
using Words = Vector<std::uint32_t>;
using Floats = Vector<float>;

ROFORMER_EXT_INLINE Floats low_half(Words w) { return core::bit_cast<Floats>(w << 16); }
ROFORMER_EXT_INLINE Floats high_half(Words w) { return core::bit_cast<Floats>(w & 0xffff0000u); }

// Note [NaN in bfloat16 rows]
// Rounding adds up to 0x8000 to the bits, which would carry the mantissa of a NaN like 0x7fffffff
// into its sign. There is none: a NaN keeps the payload of the operand that brought it, the lower
// half of a widened x is zero, and the table's NaNs are made canonical when it is arranged
// (`canonical`).

// Rounded to nearest even in the upper half; the lower half is left over. The hardware's conversion
// would flush subnormals.
ROFORMER_EXT_INLINE Words round_upper(Floats v) {
  const Words u = core::bit_cast<Words>(v);
  return u + (((u >> 16) & 1u) + 0x7fffu);
}

template <std::size_t... kIndex>
ROFORMER_EXT_INLINE Words join_halves(Words low, Words high, std::index_sequence<kIndex...>) {
  using Shorts = Vector<std::uint16_t>;
  constexpr std::size_t kCount = sizeof...(kIndex);
  return core::bit_cast<Words>(
      __builtin_shufflevector(core::bit_cast<Shorts>(low), core::bit_cast<Shorts>(high),
                              (kIndex % 2 == 0 ? kIndex : kCount + kIndex)...));
}
ROFORMER_EXT_INLINE Words join_halves(Floats low, Floats high) {
  return join_halves(round_upper(low) >> 16, round_upper(high),
                     std::make_index_sequence<kLanes<std::uint16_t>>());
}

template <>
struct Row<core::BFloat16, true> {
  using T = core::BFloat16;
  using A = float;
  static constexpr Arrange kArrange = Arrange::kNatural;

  template <bool kStream>
  static ROFORMER_EXT_INLINE void rotate(const T* x, T* y, std::int64_t, const A* cos, const A* sin,
                                         std::int64_t pairs) {
    constexpr int kStep = kLanes<float>;
    std::int64_t i = 0;
    for (; i + kStep <= pairs; i += kStep) {
      const Words w = load<Words>(x + 2 * i);
      const Floats x1 = low_half(w), x2 = high_half(w);
      const Floats c = load<Floats>(cos + i), s = load<Floats>(sin + i);
      put<kStream>(y + 2 * i, join_halves(x1 * c - x2 * s, x1 * s + x2 * c));
    }
    for (; i < pairs; ++i) {
      rotate_scalars(x[2 * i], x[2 * i + 1], cos[i], sin[i], y[2 * i], y[2 * i + 1]);
    }
  }
};

// In the half layout a word holds the same member of two neighbouring pairs.
template <>
struct Row<core::BFloat16, false> {
  using T = core::BFloat16;
  using A = float;
  static constexpr Arrange kArrange = Arrange::kEvenOdd;

  template <bool kStream>
  static ROFORMER_EXT_INLINE void rotate(const T* x, T* y, std::int64_t apart, const A* cos,
                                         const A* sin, std::int64_t pairs) {
    constexpr int kHalf = kLanes<float>;
    constexpr int kStep = 2 * kHalf;
    std::int64_t i = 0;
    for (; i + kStep <= pairs; i += kStep) {
      const Words w1 = load<Words>(x + i), w2 = load<Words>(x + apart + i);
      const Floats even1 = low_half(w1), even2 = low_half(w2), odd1 = high_half(w1),
                   odd2 = high_half(w2);
      const Floats even_c = load<Floats>(cos + i), odd_c = load<Floats>(cos + i + kHalf);
      const Floats even_s = load<Floats>(sin + i), odd_s = load<Floats>(sin + i + kHalf);
      put<kStream>(y + i,
                   join_halves(even1 * even_c - even2 * even_s, odd1 * odd_c - odd2 * odd_s));
      put<kStream>(y + apart + i,
                   join_halves(even1 * even_s + even2 * even_c, odd1 * odd_s + odd2 * odd_c));
    }
    for (; i < pairs; ++i) {
      rotate_scalars(x[i], x[apart + i], cos[i], sin[i], y[i], y[apart + i]);
    }
  }
};

// Copies channels that are not rotated.
template <bool kStream, class T>
ROFORMER_EXT_INLINE void copy_row(const T* x, T* y, std::int64_t count) {
  std::int64_t i = 0;
  if constexpr (kStream) {
    for (; i + kLanes<T> <= count; i += kLanes<T>)
      stream(y + i, load<Vector<std::uint32_t>>(x + i));
  }
  memcpy(y + i, x + i, static_cast<std::size_t>(count - i) * sizeof(T));
}

}  // namespace roformer_ext::cpu::ROFORMER_EXT_ISA
