// The rotary kernel with 64-byte vectors made of AVX2 instructions: the source that AVX-512
// machines run, on machines that have none. What differs there is the choice of instructions alone.
#define ROFORMER_EXT_ISA wide_vectors
#define ROFORMER_EXT_VECTOR_BYTES 64
#include "cpu/rope_wide_vectors.h"

#include "cpu/rope_kernel.h"

namespace roformer_ext::cpu::wide_vectors {

RopeKernel kernel() { return &rope; }

}  // namespace roformer_ext::cpu::wide_vectors
