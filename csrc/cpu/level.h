// Which instruction set the CPU kernels use.
//
// The best level of the machine is taken, unless the environment variable ROFORMER_EXT_CPU
// (default, avx2, avx512) names another. The choice is made at the first call and stays.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cpu/kernels.h"

namespace roformer_ext::cpu {

enum class Level { kDefault, kAvx2, kAvx512 };

const char* name(Level level);

// Levels that this machine can run and this build contains, ascending.
const std::vector<Level>& available_levels();

// Throws std::runtime_error, in one sentence, when ROFORMER_EXT_CPU is unknown or the machine lacks
// that level.
Level active_level();

const Kernels& kernels(Level level);

// Kernels of the active level.
const Kernels& kernels();

// Bytes of the third cache level as one core sees it, or an estimate where the system does not say.
std::int64_t last_cache_bytes();

}  // namespace roformer_ext::cpu
