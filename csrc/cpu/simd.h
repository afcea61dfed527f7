// Vectors of one instruction set, on the compiler's vector extensions.
//
// Everything lives in a namespace named after the instruction set that the including file was
// compiled for, so copies for different machines never meet. One source serves 16, 32 and 64 byte
// vectors; intrinsics appear only where the extensions have no word for it: non-temporal stores and
// float16 conversion.
#pragma once

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include <cstdint>
#include <utility>

#include "core/element.h"

#if !defined(ROFORMER_EXT_ISA)
#error "define ROFORMER_EXT_ISA, the namespace of this instruction set, before including simd.h"
#endif

// A test may widen the vectors beyond the instruction set, to run the code of a machine that it
// does not have.
#if !defined(ROFORMER_EXT_VECTOR_BYTES)
#if defined(__AVX512F__)
#define ROFORMER_EXT_VECTOR_BYTES 64
#elif defined(__AVX2__)
#define ROFORMER_EXT_VECTOR_BYTES 32
#else
#define ROFORMER_EXT_VECTOR_BYTES 16
#endif
#endif

namespace roformer_ext::cpu::ROFORMER_EXT_ISA {

inline constexpr int kVectorBytes = ROFORMER_EXT_VECTOR_BYTES;

template <class T>
struct VectorOf {
  typedef T type __attribute__((vector_size(kVectorBytes)));
};
template <class T>
using Vector = typename VectorOf<T>::type;

template <class T>
inline constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));

template <class V>
ROFORMER_EXT_INLINE V load(const void* from) {
  V v;
  memcpy(&v, from, sizeof(V));
  return v;
}

template <class V>
ROFORMER_EXT_INLINE void store(void* to, V v) {
  memcpy(to, &v, sizeof(V));
}

// Writes past the caches; `to` must be aligned to the vector. The writer fences once at its end.
template <class V>
ROFORMER_EXT_INLINE void stream(void* to, V v) {
#if defined(__AVX512F__)
  _mm512_stream_ps(static_cast<float*>(to), core::bit_cast<__m512>(v));
#elif defined(__AVX__)
  struct Parts {
    __m256 part[sizeof(V) / sizeof(__m256)];
  };
  const Parts parts = core::bit_cast<Parts>(v);
  for (unsigned i = 0; i < sizeof(V) / sizeof(__m256); ++i) {
    _mm256_stream_ps(static_cast<float*>(to) + 8 * i, parts.part[i]);
  }
#elif defined(__SSE2__)
  struct Parts {
    __m128 part[sizeof(V) / sizeof(__m128)];
  };
  const Parts parts = core::bit_cast<Parts>(v);
  for (unsigned i = 0; i < sizeof(V) / sizeof(__m128); ++i) {
    _mm_stream_ps(static_cast<float*>(to) + 4 * i, parts.part[i]);
  }
#else
  store(to, v);
#endif
}

ROFORMER_EXT_INLINE void fence_streams() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

template <bool kStream, class V>
ROFORMER_EXT_INLINE void put(void* to, V v) {
  if constexpr (kStream) {
    stream(to, v);
  } else {
    store(to, v);
  }
}

template <class V, std::size_t... kIndex>
ROFORMER_EXT_INLINE V swap_pairs(V v, std::index_sequence<kIndex...>) {
  return __builtin_shufflevector(v, v, (kIndex ^ 1)...);
}

// (a0, a1, a2, a3, ...) to (a1, a0, a3, a2, ...).
template <class T>
ROFORMER_EXT_INLINE Vector<T> swap_pairs(Vector<T> v) {
  return swap_pairs(v, std::make_index_sequence<kLanes<T>>());
}

// Loads and stores of kLanes<arithmetic> elements of T, widened to and rounded from the arithmetic
// type.
template <class T>
struct Widened {
  using Values = Vector<T>;
  static ROFORMER_EXT_INLINE Values read(const T* from) { return load<Values>(from); }
  template <bool kStream>
  static ROFORMER_EXT_INLINE void write(T* to, Values v) {
    put<kStream>(to, v);
  }
};

template <>
struct Widened<core::Float16> {
  using Values = Vector<float>;
  static constexpr int kCount = kLanes<float>;

#if defined(__F16C__)
  // Eight at a time on every instruction set that converts at all, so that one path serves them.
  struct Eights {
    __m256 part[kCount / 8];
  };

  static ROFORMER_EXT_INLINE Values read(const core::Float16* from) {
    Eights eights;
    for (int i = 0; i < kCount / 8; ++i)
      eights.part[i] = _mm256_cvtph_ps(load<__m128i>(from + 8 * i));
    return core::bit_cast<Values>(eights);
  }

  template <bool kStream>
  static ROFORMER_EXT_INLINE void write(core::Float16* to, Values v) {
    const Eights eights = core::bit_cast<Eights>(v);
    for (int i = 0; i < kCount / 8; ++i) {
      const __m128i halves = _mm256_cvtps_ph(eights.part[i], _MM_FROUND_TO_NEAREST_INT);
      if constexpr (kStream) {
        _mm_stream_si128(reinterpret_cast<__m128i*>(to + 8 * i), halves);
      } else {
        store(to + 8 * i, halves);
      }
    }
  }
#else
  static ROFORMER_EXT_INLINE Values read(const core::Float16* from) {
    Values v;
    for (int i = 0; i < kCount; ++i) v[i] = core::widen(from[i]);
    return v;
  }

  template <bool kStream>
  static ROFORMER_EXT_INLINE void write(core::Float16* to, Values v) {
    for (int i = 0; i < kCount; ++i) core::narrow(v[i], to[i]);
  }
#endif
};

}  // namespace roformer_ext::cpu::ROFORMER_EXT_ISA
