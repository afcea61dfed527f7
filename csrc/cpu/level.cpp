// Detection of the instruction set by cpuid, and its override by the environment.
#include "cpu/level.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <stdexcept>

namespace roformer_ext::cpu {
namespace {

constexpr Level kAllLevels[] = {Level::kDefault, Level::kAvx2, Level::kAvx512};

bool machine_has(Level level) {
#if defined(ROFORMER_EXT_X86)
  __builtin_cpu_init();
  switch (level) {
    case Level::kAvx512:
      return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    case Level::kAvx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c");
    default:
      return true;
  }
#else
  return level == Level::kDefault;
#endif
}

std::vector<Level> detect() {
  std::vector<Level> levels;
  for (const Level level : kAllLevels) {
    if (machine_has(level)) levels.push_back(level);
  }
  return levels;
}

Level parse(const std::string& word) {
  for (const Level level : kAllLevels) {
    if (word == name(level)) return level;
  }
  throw std::runtime_error("ROFORMER_EXT_CPU must be default, avx2 or avx512, got '" +
                           word.substr(0, 40) + "'");
}

Level choose() {
  const std::vector<Level>& levels = available_levels();
  const char* word = std::getenv("ROFORMER_EXT_CPU");
  if (word == nullptr || *word == '\0') return levels.back();
  const Level wanted = parse(word);
  if (std::find(levels.begin(), levels.end(), wanted) == levels.end()) {
    throw std::runtime_error("ROFORMER_EXT_CPU must name a level of this machine, at most " +
                             std::string(name(levels.back())) + ", got '" + word + "'");
  }
  return wanted;
}

}  // namespace

const char* name(Level level) {
  switch (level) {
    case Level::kAvx512:
      return "avx512";
    case Level::kAvx2:
      return "avx2";
    default:
      return "default";
  }
}

const std::vector<Level>& available_levels() {
  static const std::vector<Level> levels = detect();
  return levels;
}

Level active_level() {
  static const Level level = choose();
  return level;
}

const Kernels& kernels([[maybe_unused]] Level level) {
#if defined(ROFORMER_EXT_X86)
  if (level == Level::kAvx512) return avx512::kernels();
  if (level == Level::kAvx2) return avx2::kernels();
#endif
  return portable::kernels();
}

const Kernels& kernels() {
  static const Kernels& chosen = kernels(active_level());
  return chosen;
}

// The kernel's word on the cache that this core shares with its neighbours; sysconf adds up all of
// a socket's.
std::int64_t last_cache_bytes() {
  static const std::int64_t bytes = [] {
    std::ifstream file("/sys/devices/system/cpu/cpu0/cache/index3/size");
    std::int64_t kilobytes = 0;
    char unit = 0;
    if (file >> kilobytes >> unit && unit == 'K' && kilobytes > 0) return kilobytes << 10;
    return std::int64_t{32} << 20;
  }();
  return bytes;
}

}  // namespace roformer_ext::cpu
