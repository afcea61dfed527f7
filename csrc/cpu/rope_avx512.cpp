// The rotary kernel compiled for AVX512.
#define ROFORMER_EXT_ISA avx512
#include "cpu/kernels.h"
#include "cpu/rope_kernel.h"

namespace roformer_ext::cpu::avx512 {

const Kernels& kernels() {
  static constexpr Kernels kTable{&rope};
  return kTable;
}

}  // namespace roformer_ext::cpu::avx512
