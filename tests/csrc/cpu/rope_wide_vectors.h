// See rope_wide_vectors.cpp. Needs a machine with AVX2.
#pragma once

#include "cpu/rope.h"

namespace roformer_ext::cpu::wide_vectors {

RopeKernel kernel();

}  // namespace roformer_ext::cpu::wide_vectors
