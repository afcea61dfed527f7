// How the bodies of CUDA kernels move elements: in packs of up to 16 bytes, loaded from memory that
// is known to be aligned, converted one by one. Host and device agree bit for bit (NaN aside).
#pragma once

#include <cstdint>
#include <type_traits>

#include "core/element.h"
#include "core/macros.h"
#include "core/rope_launch.h"

// Loops over register arrays; the host's compiler may do as it likes.
#if defined(__CUDA_ARCH__)
#define ROFORMER_EXT_UNROLL _Pragma("unroll")
#else
#define ROFORMER_EXT_UNROLL
#endif

namespace roformer_ext::core {

template <class T>
ROFORMER_EXT_INLINE auto to_arithmetic(T x) {
  return widen(x);
}

// Rounds two neighbours.
template <class A, class T>
ROFORMER_EXT_INLINE void from_arithmetic(A first, A second, T* to) {
  narrow(first, to[0]);
  narrow(second, to[1]);
}

#if defined(__CUDA_ARCH__)
// The conversions of the hardware round to nearest even and, without .ftz, keep subnormals.
ROFORMER_EXT_INLINE float to_arithmetic(Float16 x) {
  float wide;
  asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(x.bits));
  return wide;
}

template <class T>
ROFORMER_EXT_INLINE void unpack_word(std::uint32_t word, T* to) {
  to[0].bits = static_cast<std::uint16_t>(word);
  to[1].bits = static_cast<std::uint16_t>(word >> 16);
}
ROFORMER_EXT_INLINE void from_arithmetic(float first, float second, BFloat16* to) {
  std::uint32_t word;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(second), "f"(first));
  unpack_word(word, to);
}
ROFORMER_EXT_INLINE void from_arithmetic(float first, float second, Float16* to) {
  std::uint32_t word;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(second), "f"(first));
  unpack_word(word, to);
}
#endif

// The bits of neighbouring elements that travel in one access. They stay whole words until they are
// used: a register holds two elements of a half type then.
template <int kBytes>
struct alignas(kBytes) RopePack {
  using Word = std::conditional_t<kBytes == 2, std::uint16_t, std::uint32_t>;
  Word words[kBytes / sizeof(Word)];
};

template <class T, int kLanes>
struct RopeLanes {
  T lane[kLanes];
};

template <int kBytes, class T>
ROFORMER_EXT_INLINE RopePack<kBytes> load_pack(const T* from) {
#if defined(__CUDA_ARCH__)
  return *reinterpret_cast<const RopePack<kBytes>*>(from);
#else
  RopePack<kBytes> pack;
  memcpy(&pack, from, kBytes);
  return pack;
#endif
}

template <int kBytes, class T>
ROFORMER_EXT_INLINE void store_pack(T* to, const RopePack<kBytes>& pack) {
#if defined(__CUDA_ARCH__)
  *reinterpret_cast<RopePack<kBytes>*>(to) = pack;
#else
  memcpy(to, &pack, kBytes);
#endif
}

// Reads kPairs neighbouring entries of a table row of element type E.
template <class E, class A, int kPairs, class Offset>
ROFORMER_EXT_INLINE void read_row(const void* data, Offset at, Offset stride, bool aligned,
                                  A (&row)[kPairs]) {
  constexpr int kMost = kRopeVectorBytes / sizeof(E);
  constexpr int kLanes = kPairs < kMost ? kPairs : kMost;
  const E* from = static_cast<const E*>(data) + at;
  if (aligned) {
    ROFORMER_EXT_UNROLL
    for (int i = 0; i < kPairs; i += kLanes) {
      const auto pack = bit_cast<RopeLanes<E, kLanes>>(load_pack<kLanes * sizeof(E)>(from + i));
      ROFORMER_EXT_UNROLL
      for (int j = 0; j < kLanes; ++j) row[i + j] = static_cast<A>(to_arithmetic(pack.lane[j]));
    }
  } else {
    ROFORMER_EXT_UNROLL
    for (int i = 0; i < kPairs; ++i) row[i] = static_cast<A>(to_arithmetic(from[i * stride]));
  }
}

template <class A, int kPairs, class Offset>
ROFORMER_EXT_INLINE void read_row(const RopeTable& table, Offset at, bool aligned,
                                  A (&row)[kPairs]) {
  const Offset stride = static_cast<Offset>(table.strides.channel);
  switch (table.dtype) {
    case DType::kFloat32:
      return read_row<float>(table.data, at, stride, aligned, row);
    case DType::kFloat64:
      return read_row<double>(table.data, at, stride, aligned, row);
    case DType::kBFloat16:
      return read_row<BFloat16>(table.data, at, stride, aligned, row);
    default:
      return read_row<Float16>(table.data, at, stride, aligned, row);
  }
}

}  // namespace roformer_ext::core
