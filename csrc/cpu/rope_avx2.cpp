// The rotary kernel compiled for AVX2.
#define ROFORMER_EXT_ISA avx2
#include "cpu/kernels.h"
#include "cpu/rope_kernel.h"

namespace roformer_ext::cpu::avx2 {

const Kernels& kernels() {
  static constexpr Kernels kTable{&rope};
  return kTable;
}

}  // namespace roformer_ext::cpu::avx2
