// What this build is and which CPU kernels run.
#pragma once

#include <string>
#include <vector>

#include "roformer_ext/ops.h"

namespace roformer_ext {

struct BuildInfo {
  std::string version;
  std::string torch;      // that it was built for; only the same minor version can load it
  bool cuda = false;      // CUDA kernels are compiled in
  std::string cpu_level;  // in use: "default", "avx2" or "avx512"
  std::vector<std::string> cpu_levels;  // that this machine can run, ascending
  std::string compiler;
};

// Throws std::runtime_error when the environment variable ROFORMER_EXT_CPU names a level that
// cannot run here.
ROFORMER_EXT_API BuildInfo build_info();

}  // namespace roformer_ext
