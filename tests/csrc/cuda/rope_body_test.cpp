// The body of the CUDA kernel (core/rope_thread.h), executed on the host: a loop over blocks and
// threads stands for the launch. For random parameters of every dtype, layout, stride and table
// form the result must equal the plain loop of rope_cases.h bit for bit, with 32-bit and with
// 64-bit offsets, and for every number of heads per thread.
#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#else
#include <catch2/catch.hpp>
#endif

#include <cstdint>
#include <limits>

#include "core/rope_cases.h"
#include "core/rope_thread.h"

namespace roformer_ext {
namespace {

using core::DType;
using core::RopeAccess;
using core::RopeLaunch;
using core::RopeParams;
using rope_cases::Buffer;
using rope_cases::Case;
using rope_cases::Random;
using rope_cases::same;

// Every thread of the launch, last block first: the order must not matter. False when any thread
// refused its id.
template <class T, RopeAccess kAccess, class Offset>
bool execute(const RopeParams& p, const RopeLaunch& launch) {
  bool fine = true;
  std::int64_t block = (launch.threads + core::kRopeBlock - 1) / core::kRopeBlock;
  while (block-- > 0) {
    for (int thread = 0; thread < core::kRopeBlock; ++thread) {
      fine = core::rope_thread<T, kAccess, Offset>(p, launch, block, thread) && fine;
    }
  }
  return fine;
}

template <class T, RopeAccess kAccess>
bool execute(const RopeParams& p, const RopeLaunch& launch) {
  return launch.wide_offsets ? execute<T, kAccess, std::int64_t>(p, launch)
                             : execute<T, kAccess, std::int32_t>(p, launch);
}

template <class T>
bool execute(const RopeParams& p, const RopeLaunch& launch) {
  switch (launch.access) {
    case RopeAccess::kHalves:
      return execute<T, RopeAccess::kHalves>(p, launch);
    case RopeAccess::kNeighbours:
      return execute<T, RopeAccess::kNeighbours>(p, launch);
    default:
      return execute<T, RopeAccess::kScalar>(p, launch);
  }
}

bool execute(const RopeParams& p, const RopeLaunch& launch) {
  switch (p.dtype) {
    case DType::kFloat32:
      return execute<float>(p, launch);
    case DType::kFloat64:
      return execute<double>(p, launch);
    case DType::kBFloat16:
      return execute<core::BFloat16>(p, launch);
    default:
      return execute<core::Float16>(p, launch);
  }
}

RopeLaunch with_heads_per_thread(RopeLaunch launch, std::int64_t per_thread) {
  if (launch.threads == 0) return launch;
  const std::int64_t slots = launch.threads / launch.chunks;
  launch.chunks = launch.heads == 0 ? 1 : (launch.heads + per_thread - 1) / per_thread;
  launch.threads = slots * launch.chunks;
  return launch;
}

TEST_CASE("the kernel's body equals a plain loop", "[cuda][rope]") {
  Random random(20260101);
  int seen[3] = {0, 0, 0};
  for (int round = 0; round < 2000; ++round) {
    Case original = rope_cases::make_case(random);
    Case expected = original;
    connect(expected);
    rope_cases::rotate_plainly(expected.params);

    connect(original);
    const RopeLaunch launch = core::plan_launch(original.params);
    REQUIRE_FALSE(launch.wide_offsets);
    ++seen[static_cast<int>(launch.access)];
    const int most = core::rope_unroll(launch.access);
    for (int per_thread = 1; per_thread <= most; ++per_thread) {
      for (const bool wide : {false, true}) {
        Case actual = original;
        connect(actual);
        RopeLaunch changed = with_heads_per_thread(launch, per_thread);
        changed.wide_offsets = wide;
        INFO("round " << round << ", " << per_thread << " heads per thread, wide offsets " << wide);
        REQUIRE(execute(actual.params, changed));
        REQUIRE(same(actual.params.dtype, actual.x.storage, expected.x.storage));
        REQUIRE(same(actual.params.dtype, actual.out.storage, expected.out.storage));
      }
    }
  }
  for (const int count : seen) CHECK(count > 100);
}

TEST_CASE("an id outside the table is reported and never followed", "[cuda][rope]") {
  Random random(7);
  int tried = 0;
  while (tried < 200) {
    Case c = rope_cases::make_case(random);
    if (c.ids.empty()) continue;
    ++tried;
    connect(c);
    const std::int64_t bad[] = {-2, c.params.ids.rows, std::numeric_limits<std::int32_t>::min(),
                                std::numeric_limits<std::int32_t>::max()};
    set_id(c, c.params.batch - 1, c.params.seq - 1, bad[tried % 4]);
    CHECK_FALSE(execute(c.params, core::plan_launch(c.params)));
  }
}

RopeParams packed_projection(std::int64_t batch, std::int64_t seq, void* memory) {
  RopeParams p;
  p.dtype = DType::kBFloat16;
  p.x = p.out = memory;
  p.batch = batch;
  p.seq = seq;
  p.heads = 36;
  p.rotated_heads = 24;
  p.head_dim = 64;
  p.pairs = 32;
  p.x_strides = p.out_strides = {seq * 36 * 64, 36 * 64, 0, 64, 1};
  p.cos.data = p.sin.data = memory;
  p.cos.strides = p.sin.strides = {0, 32, 0, 0, 1};
  return p;
}

TEST_CASE("a launch is planned for the shape", "[cuda][rope]") {
  alignas(16) char memory[32];
  RopeParams p = packed_projection(64, 512, memory);
  RopeLaunch launch = core::plan_launch(p);
  CHECK(launch.access == RopeAccess::kHalves);
  CHECK((launch.cos_aligned && launch.sin_aligned && !launch.wide_offsets));
  CHECK(launch.slots == 4);   // of 8 pairs
  CHECK(launch.chunks == 6);  // of 4 heads
  CHECK(launch.threads == 64 * 512 * 4 * 6);

  p.interleaved = true;
  launch = core::plan_launch(p);
  CHECK(launch.access == RopeAccess::kNeighbours);
  CHECK(launch.slots == 8);   // of 4 pairs
  CHECK(launch.chunks == 3);  // of 8 heads

  // Too few threads to let heads share the reading of a table row.
  CHECK(core::plan_launch(packed_projection(1, 1, memory)).chunks == 24);
  CHECK(core::plan_launch(packed_projection(2048, 512, memory)).wide_offsets);
  CHECK(core::plan_launch(packed_projection(0, 512, memory)).threads == 0);

  p.x = p.out = memory + 2;
  CHECK(core::plan_launch(p).access == RopeAccess::kScalar);
}

}  // namespace
}  // namespace roformer_ext
