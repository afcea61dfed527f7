// The rotation of one pair (RoFormer, arXiv 2104.09864, eq. 13): the one place that states the
// arithmetic.
//
// Products are rounded before the sum (no fused multiply-add), so every instruction set, CUDA and
// the composite give the same bits. The transpose flips the sign of sine, which is exact.
#pragma once

#include "core/macros.h"

namespace roformer_ext::core {

#if defined(__CUDA_ARCH__)
// The intrinsics are never contracted, whatever the flags of the build.
ROFORMER_EXT_INLINE float product(float a, float b) { return __fmul_rn(a, b); }
ROFORMER_EXT_INLINE double product(double a, double b) { return __dmul_rn(a, b); }
#else
template <class A>
ROFORMER_EXT_INLINE A product(A a, A b) {
  A rounded = a * b;
  // GCC 12 turns a loop over pairs into fused multiply-add-subtract even under -ffp-contract=off;
  // an empty statement that claims to change the product keeps it a product.
#if defined(__x86_64__)
  asm("" : "+x"(rounded));
#elif defined(__aarch64__)
  asm("" : "+w"(rounded));
#endif
  return rounded;
}
#endif

template <class A>
ROFORMER_EXT_INLINE void rotate_pair(A x1, A x2, A cos, A sin, A& y1, A& y2) {
  y1 = product(x1, cos) - product(x2, sin);
  y2 = product(x1, sin) + product(x2, cos);
}

}  // namespace roformer_ext::core
