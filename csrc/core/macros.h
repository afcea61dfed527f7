// Qualifiers shared by code that both the host compilers and nvcc read.
//
// Inline functions that CPU kernels use are compiled once per instruction set and must never be
// merged across those translation units by the linker, or a machine without AVX-512 could end up in
// a copy that uses it; so they are forced inline and leave no symbol behind.
#pragma once

#if defined(__CUDACC__)
#define ROFORMER_EXT_INLINE __host__ __device__ __forceinline__
#else
#define ROFORMER_EXT_INLINE inline __attribute__((always_inline))
#endif
