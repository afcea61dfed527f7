// See roformer_ext/build_info.h.
#include "roformer_ext/build_info.h"

#include "cpu/level.h"

namespace roformer_ext {

BuildInfo build_info() {
  BuildInfo info;
  info.version = ROFORMER_EXT_VERSION;
  info.torch = ROFORMER_EXT_TORCH_VERSION;
#if defined(ROFORMER_EXT_WITH_CUDA)
  info.cuda = true;
#endif
  info.cpu_level = cpu::name(cpu::active_level());
  for (const cpu::Level level : cpu::available_levels())
    info.cpu_levels.emplace_back(cpu::name(level));
#if defined(__clang__)
  info.compiler = "clang " __clang_version__;
#else
  info.compiler = "g++ " __VERSION__;
#endif
  return info;
}

}  // namespace roformer_ext
