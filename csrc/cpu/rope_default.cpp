// The rotary kernel compiled for the baseline of the architecture.
#define ROFORMER_EXT_ISA portable
#include "cpu/kernels.h"
#include "cpu/rope_kernel.h"

namespace roformer_ext::cpu::portable {

const Kernels& kernels() {
  static constexpr Kernels kTable{&rope};
  return kTable;
}

}  // namespace roformer_ext::cpu::portable
