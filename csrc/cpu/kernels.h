// The table of CPU kernels: one instance per instruction set, chosen once.
//
// Each rope_<isa>.cpp defines kernels() in its own namespace; level.cpp picks.
#pragma once

#include "cpu/rope.h"

namespace roformer_ext::cpu {

struct Kernels {
  RopeKernel rope;
};

namespace portable {
const Kernels& kernels();
}
namespace avx2 {
const Kernels& kernels();
}
namespace avx512 {
const Kernels& kernels();
}

}  // namespace roformer_ext::cpu
