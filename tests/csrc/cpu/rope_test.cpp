// The CPU kernels of every instruction set that this machine has, against the plain loop of
// core/rope_cases.h: the same bits for random parameters of every dtype, layout, stride and table
// form, however the units are split, and with the caches bypassed or not.
#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#else
#include <catch2/catch.hpp>
#endif

#include <string>
#include <vector>

#include "core/rope_cases.h"
#include "cpu/level.h"
#include "cpu/rope_wide_vectors.h"

namespace roformer_ext {
namespace {

using rope_cases::Case;
using rope_cases::Random;

struct Candidate {
  std::string name;
  cpu::RopeKernel kernel;
};

std::vector<Candidate> candidates() {
  std::vector<Candidate> all;
  for (const cpu::Level level : cpu::available_levels())
    all.push_back({cpu::name(level), cpu::kernels(level).rope});
#if defined(ROFORMER_EXT_X86)
  if (all.size() > 1) all.push_back({"64-byte vectors on AVX2", cpu::wide_vectors::kernel()});
#endif
  return all;
}

// Runs the units in several calls, the last ones first, as threads might.
void run(const cpu::RopeKernel kernel, const core::RopeParams& p, const cpu::RopePlan& plan,
         std::int64_t pieces) {
  for (std::int64_t i = pieces; i-- > 0;) {
    kernel(p, plan, plan.units * i / pieces, plan.units * (i + 1) / pieces);
  }
}

void check(const Case& original, const Candidate& candidate, bool stream, std::int64_t pieces) {
  Case expected = original, actual = original;
  connect(expected);
  connect(actual);
  rope_cases::rotate_plainly(expected.params);
  cpu::RopePlan plan = cpu::plan_rope(actual.params, pieces, stream ? -1 : std::int64_t{1} << 60);
  run(candidate.kernel, actual.params, plan, pieces);
  INFO(candidate.name << (plan.stream ? ", streaming" : "") << ", " << pieces << " pieces");
  REQUIRE(rope_cases::same(actual.params.dtype, actual.x.storage, expected.x.storage));
  REQUIRE(rope_cases::same(actual.params.dtype, actual.out.storage, expected.out.storage));
}

TEST_CASE("every instruction set gives the bits of a plain loop", "[cpu][rope]") {
  const std::vector<Candidate> all = candidates();
  Random random(20260302);
  for (int round = 0; round < 1500; ++round) {
    const Case original = rope_cases::make_case(random);
    INFO("round " << round);
    for (const Candidate& candidate : all) check(original, candidate, false, 1 + round % 3);
  }
}

// Rows of several vectors of every instruction set, one after another and spread over heads.
Case long_rows(core::DType dtype, std::int64_t pairs, bool interleaved, bool fresh,
               Random& random) {
  Case c;
  core::RopeParams& p = c.params;
  p.dtype = dtype;
  p.batch = 2;
  p.seq = 19;
  p.heads = 3;
  p.rotated_heads = 3;
  p.pairs = pairs;
  p.head_dim = 2 * pairs;
  p.interleaved = interleaved;
  const auto tensor = [&](core::DType type, const std::vector<std::int64_t>& sizes) {
    return rope_cases::make_tensor(type, sizes, false, 0, 0, random);
  };
  c.x = tensor(dtype, {2, 19, 1, 3, 2 * pairs});
  p.x_strides = p.out_strides = c.x.strides;
  if (fresh) c.out = tensor(dtype, {2, 19, 1, 3, 2 * pairs});
  const core::DType table = dtype == core::DType::kFloat64 ? dtype : core::DType::kFloat32;
  c.cos = tensor(table, {1, 19, 1, 1, pairs});
  c.sin = tensor(table, {1, 19, 1, 1, pairs});
  p.cos.dtype = p.sin.dtype = table;
  p.cos.strides = p.sin.strides = {0, pairs, 0, 0, 1};
  return c;
}

TEST_CASE("rows around the width of a vector", "[cpu][rope]") {
  Random random(3);
  for (const core::DType dtype : {core::DType::kFloat32, core::DType::kFloat64,
                                  core::DType::kBFloat16, core::DType::kFloat16}) {
    for (const std::int64_t pairs : {1, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 128}) {
      for (const bool interleaved : {false, true}) {
        for (const bool fresh : {false, true}) {
          const Case original = long_rows(dtype, pairs, interleaved, fresh, random);
          for (const Candidate& candidate : candidates()) check(original, candidate, false, 2);
        }
      }
    }
  }
}

TEST_CASE("more pairs than one block of prepared table", "[cpu][rope]") {
  Random random(4);
  for (const core::DType dtype : {core::DType::kFloat32, core::DType::kBFloat16}) {
    for (const bool interleaved : {false, true}) {
      const Case original = long_rows(dtype, 2 * cpu::kTableValues + 5, interleaved, true, random);
      for (const Candidate& candidate : candidates()) check(original, candidate, false, 1);
    }
  }
}

TEST_CASE("an output written past the caches holds the same bits", "[cpu][rope]") {
  Random random(5);
  for (const core::DType dtype : {core::DType::kFloat32, core::DType::kFloat64,
                                  core::DType::kBFloat16, core::DType::kFloat16}) {
    for (const bool interleaved : {false, true}) {
      Case original = long_rows(dtype, 64, interleaved, true, random);
      // The plan streams only into aligned memory: give the output room to begin at a multiple of
      // 64 bytes.
      original.out.storage.resize(original.out.storage.size() + 8);
      Case expected = original, actual = original;
      connect(expected);
      connect(actual);
      const auto address = reinterpret_cast<std::uintptr_t>(actual.params.out);
      const std::uintptr_t shift =
          (cpu::kStreamAlignment - address % cpu::kStreamAlignment) % cpu::kStreamAlignment;
      actual.params.out = static_cast<char*>(actual.params.out) + shift;
      expected.params.out = static_cast<char*>(expected.params.out) + shift;
      rope_cases::rotate_plainly(expected.params);
      const cpu::RopePlan plan = cpu::plan_rope(actual.params, 1, 0);
      REQUIRE(plan.stream);
      for (const Candidate& candidate : candidates()) {
        INFO(candidate.name);
        run(candidate.kernel, actual.params, plan, 3);
        REQUIRE(rope_cases::same(dtype, actual.out.storage, expected.out.storage));
      }
    }
  }
}

TEST_CASE("the levels of this machine begin with the one that every machine has", "[cpu]") {
  const auto& levels = cpu::available_levels();
  REQUIRE_FALSE(levels.empty());
  CHECK(levels.front() == cpu::Level::kDefault);
  CHECK(cpu::last_cache_bytes() > 0);
}

}  // namespace
}  // namespace roformer_ext
