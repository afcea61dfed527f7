// What `rope` makes of its arguments' shapes: the one place that checks them and names the dims.
//
// `Int` is int64_t for kernels and c10::SymInt for the meta kernel and the composite, so that every
// backend, fake tensors and functorch agree on what is legal. Nothing is read from memory here.
#pragma once

#include <c10/core/SymInt.h>

#include "ops/rope/arguments.h"

namespace roformer_ext::ops {

enum class TableForm {
  kIndexed,    // [n, R]: a row per position
  kPerToken,   // [B or 1, S, R]: batch first, whatever the layout of x
  kBroadcast,  // as many dims as x
};

enum class TableWidth { kHalf = 1, kFull = 2 };  // entries per pair

template <class Int>
struct RopeShape {
  // Places of the dims in x; -1 where x has none. Channels are last.
  int batch_dim = -1;
  int seq_dim = -1;
  int group_dim = -1;  // P of [B, S, P, H, D]
  int head_dim = -1;

  Int batch = 1;
  Int seq = 1;
  Int groups = 1;
  Int heads = 1;          // per group
  Int rotated_heads = 1;  // counted over groups * heads
  Int channels = 0;
  Int pairs = 0;
  Int rows = 0;  // of an indexed table
  TableForm form = TableForm::kIndexed;
};

// Throws c10::Error, in one sentence naming the argument, what was wanted and what came.
template <class Int>
RopeShape<Int> check_rope(const RopeArguments& a, TableWidth width = TableWidth::kHalf);

extern template RopeShape<std::int64_t> check_rope(const RopeArguments&, TableWidth);
extern template RopeShape<c10::SymInt> check_rope(const RopeArguments&, TableWidth);

}  // namespace roformer_ext::ops
