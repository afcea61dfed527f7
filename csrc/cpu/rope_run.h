// A run: rows at a constant distance in memory, rotated by one tight loop.
//
// The walk over tiles, heads and tokens has much to keep in mind; the rows must not wait for it. So
// it hands over whole runs, and asks memory for what comes next while a row is at work.
#pragma once

#include "cpu/rope_row.h"

namespace roformer_ext::cpu::ROFORMER_EXT_ISA {

// Rows at a constant distance in memory, with table rows at a constant distance: the heads of a
// token, or neighbouring tokens of a head.
template <class T>
struct Run {
  using A = typename core::Arithmetic<T>::type;
  const T* x;
  T* y;
  std::int64_t x_step;
  std::int64_t y_step;
  const A* cos;
  const A* sin;
  std::int64_t table_step;
  std::int64_t rows;
  bool prefetch;

  // On to the next row.
  ROFORMER_EXT_INLINE void step() {
    x += x_step;
    y += y_step;
    cos += table_step;
    sin += table_step;
    --rows;
  }
};

// Far enough ahead for memory to answer, near enough to stay in the first-level cache; found by
// measurement.
inline constexpr std::int64_t kPrefetchBytes = 4096;

// `pairs` is a literal for common head widths, which lets the compiler unroll the row.
template <class T, bool kInterleaved, bool kStream>
ROFORMER_EXT_INLINE void rotate_rows(Run<T> run, std::int64_t apart, std::int64_t pairs) {
  for (; run.rows > 0; run.step()) {
    if (run.prefetch) {
      const char* ahead = reinterpret_cast<const char*>(run.x) + kPrefetchBytes;
      for (std::int64_t at = 0; at < 2 * pairs * static_cast<std::int64_t>(sizeof(T)); at += 64) {
        __builtin_prefetch(ahead + at);
      }
    }
    Row<T, kInterleaved>::template rotate<kStream>(run.x, run.y, apart, run.cos, run.sin, pairs);
  }
}

// A function of its own: few values live in its loop, and they stay in registers.
template <class T, bool kInterleaved, bool kStream>
__attribute__((noinline)) void rotate_run(const Run<T>& run, std::int64_t apart,
                                          std::int64_t pairs) {
  switch (pairs) {
    case 32:
      return rotate_rows<T, kInterleaved, kStream>(run, apart, 32);
    case 64:
      return rotate_rows<T, kInterleaved, kStream>(run, apart, 64);
    default:
      return rotate_rows<T, kInterleaved, kStream>(run, apart, pairs);
  }
}

}  // namespace roformer_ext::cpu::ROFORMER_EXT_ISA
