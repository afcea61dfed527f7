// The rotary kernel of one instruction set: walks tiles, heads and tokens, and hands rows to
// rope_row.h.
//
// Included once by each rope_<isa>.cpp. Rows whose channels stand next to each other go through
// vectors; any other stride takes the scalar path, with the same bits. The order of the two inner
// loops follows memory.
#pragma once

#include "cpu/rope.h"
#include "cpu/rope_run.h"
#include "cpu/rope_table.h"

namespace roformer_ext::cpu::ROFORMER_EXT_ISA {

using core::RopeParams;

// A row with any channel stride, one pair at a time.
template <class T>
struct StridedRow {
  using A = typename core::Arithmetic<T>::type;
  static constexpr Arrange kArrange = Arrange::kNatural;

  static void rotate(const RopeParams& p, const T* x, T* y, std::int64_t first, const A* cos,
                     const A* sin, std::int64_t pairs) {
    for (std::int64_t i = 0; i < pairs; ++i) {
      const std::int64_t c1 = core::first_channel(p, first + i),
                         c2 = core::second_channel(p, first + i);
      rotate_scalars(x[c1 * p.x_strides.channel], x[c2 * p.x_strides.channel], cos[i], sin[i],
                     y[c1 * p.out_strides.channel], y[c2 * p.out_strides.channel]);
    }
  }
};

// The tokens of one tile: where the first one stands, and which row of the table each of them
// reads, -1 for those that are left alone.
struct Tile {
  std::int64_t batch;
  std::int64_t first;  // along the sequence
  std::int64_t count;
  std::int64_t row[kMaxTile];

  Tile(const RopeParams& p, const RopePlan& plan, std::int64_t unit)
      : batch(unit / plan.tiles_per_batch), first((unit % plan.tiles_per_batch) * plan.tile) {
    count = first + plan.tile <= p.seq ? plan.tile : p.seq - first;
    for (std::int64_t t = 0; t < count; ++t) {
      row[t] = p.ids.data != nullptr ? core::token_id(p.ids, batch, first + t) : first + t;
    }
  }

  // The end of the run of tokens from t on that are all rotated, or, when t is left alone, t
  // itself.
  std::int64_t run_end(std::int64_t t) const {
    while (t < count && row[t] >= 0) ++t;
    return t;
  }
};

template <class T, bool kInterleaved, bool kContiguous, bool kStream>
class Rotation {
  using A = typename core::Arithmetic<T>::type;
  static constexpr Arrange kArrange =
      kContiguous ? Row<T, kInterleaved>::kArrange : StridedRow<T>::kArrange;
  static constexpr std::int64_t kRepeat = kArrange == Arrange::kRepeated ? 2 : 1;
  static constexpr std::int64_t kBlock =
      kTableValues / 2;  // pairs whose table rows fit for one token

 public:
  explicit Rotation(const RopeParams& params)
      : p_(params), x_(static_cast<const T*>(params.x)), y_(static_cast<T*>(params.out)) {}

  void run(const RopePlan& plan, std::int64_t begin, std::int64_t end) {
    prefetch_ = plan.prefetch;
    for (std::int64_t unit = begin; unit < end; ++unit) {
      const Tile tile(p_, plan, unit);
      if (!core::in_place(p_)) pass_through(tile);
      for (first_ = 0; first_ < p_.pairs; first_ += kBlock) {
        count_ = first_ + kBlock <= p_.pairs ? kBlock : p_.pairs - first_;
        rotate(tile);
      }
    }
    if constexpr (kStream) fence_streams();
  }

 private:
  // Pairs [first_, first_ + count_) of all rotated tokens and heads of the tile.
  void rotate(const Tile& tile) {
    const bool per_head = core::table_per_head(p_);
    const bool heads_inside = p_.x_strides.head <= p_.x_strides.seq && p_.groups == 1 && !per_head;
    if (!per_head) prepare(tile, 0);
    for (std::int64_t t = 0; t < tile.count; ++t) {
      const std::int64_t end = tile.run_end(t);
      if (end == t) continue;
      if (heads_inside) {
        for (; t < end; ++t)
          rotate(at(tile, t, 0, p_.x_strides.head, p_.out_strides.head, 0, p_.rotated_heads));
      } else {
        for (std::int64_t h = 0; h < p_.rotated_heads; ++h) {
          if (per_head) prepare(tile, h);
          rotate(at(tile, t, h, p_.x_strides.seq, p_.out_strides.seq, kRepeat * count_, end - t));
        }
        t = end;
      }
    }
  }

  // The run of `rows` rows that begins with token t and head h.
  Run<T> at(const Tile& tile, std::int64_t t, std::int64_t h, std::int64_t x_step,
            std::int64_t y_step, std::int64_t table_step, std::int64_t rows) const {
    return {x_ + row_offset(p_.x_strides, tile, t, h),
            y_ + row_offset(p_.out_strides, tile, t, h),
            x_step,
            y_step,
            cos_ + t * kRepeat * count_,
            sin_ + t * kRepeat * count_,
            table_step,
            rows,
            prefetch_};
  }

  std::int64_t row_offset(const core::RopeStrides& s, const Tile& tile, std::int64_t t,
                          std::int64_t h) const {
    return core::token_offset(s, tile.batch, tile.first + t) + core::head_offset(p_, s, h);
  }

  void rotate(Run<T> run) const {
    if constexpr (kContiguous) {
      const std::int64_t channel = core::first_channel(p_, first_);
      run.x += channel;
      run.y += channel;
      rotate_run<T, kInterleaved, kStream>(run, p_.pairs, count_);
    } else {
      for (; run.rows > 0; run.step()) {
        StridedRow<T>::rotate(p_, run.x, run.y, first_, run.cos, run.sin, count_);
      }
    }
  }

  void prepare(const Tile& tile, std::int64_t head) {
    A cos_buffer[kBlock], sin_buffer[kBlock];
    const std::int64_t cos_at =
        core::head_offset(p_, p_.cos.strides, head) + first_ * p_.cos.strides.channel;
    const std::int64_t sin_at =
        core::head_offset(p_, p_.sin.strides, head) + first_ * p_.sin.strides.channel;
    for (std::int64_t t = 0; t < tile.count; ++t) {
      if (tile.row[t] < 0) continue;
      const std::int64_t cos_row = core::token_offset(p_.cos.strides, tile.batch, tile.row[t]);
      const std::int64_t sin_row = core::token_offset(p_.sin.strides, tile.batch, tile.row[t]);
      const A* cos = table_values<A>(p_.cos, cos_at + cos_row, count_, cos_buffer);
      const A* sin = table_values<A>(p_.sin, sin_at + sin_row, count_, sin_buffer);
      arrange<kArrange>(cos, sin, p_.conj, count_, cos_ + t * kRepeat * count_,
                        sin_ + t * kRepeat * count_);
    }
  }

  // Copies what is not rotated.
  void pass_through(const Tile& tile) const {
    const std::int64_t end = p_.offset + 2 * p_.pairs;
    for (std::int64_t h = 0; h < p_.groups * p_.heads; ++h) {
      if (h < p_.rotated_heads && p_.offset == 0 && end == p_.head_dim && p_.ids.data == nullptr)
        continue;
      for (std::int64_t t = 0; t < tile.count; ++t) {
        const T* x = x_ + row_offset(p_.x_strides, tile, t, h);
        T* y = y_ + row_offset(p_.out_strides, tile, t, h);
        if (h < p_.rotated_heads && tile.row[t] >= 0) {
          copy(x, y, 0, p_.offset);
          copy(x, y, end, p_.head_dim);
        } else {
          copy(x, y, 0, p_.head_dim);
        }
      }
    }
  }

  void copy(const T* x, T* y, std::int64_t begin, std::int64_t end) const {
    if (begin >= end) return;
    if constexpr (kContiguous) {
      copy_row<kStream>(x + begin, y + begin, end - begin);
    } else {
      for (std::int64_t c = begin; c < end; ++c)
        y[c * p_.out_strides.channel] = x[c * p_.x_strides.channel];
    }
  }

  const RopeParams& p_;
  const T* x_;
  T* y_;
  std::int64_t first_ = 0;  // of the pairs at work
  std::int64_t count_ = 0;
  bool prefetch_ = false;
  alignas(64) A cos_[kTableValues];
  alignas(64) A sin_[kTableValues];
};

template <class T, bool kInterleaved>
void rotate_all(const RopeParams& p, const RopePlan& plan, std::int64_t begin, std::int64_t end) {
  const bool contiguous = p.x_strides.channel == 1 && p.out_strides.channel == 1;
  if (!contiguous) {
    Rotation<T, kInterleaved, false, false>(p).run(plan, begin, end);
  } else if (plan.stream) {
    Rotation<T, kInterleaved, true, true>(p).run(plan, begin, end);
  } else {
    Rotation<T, kInterleaved, true, false>(p).run(plan, begin, end);
  }
}

template <class T>
void rotate_layout(const RopeParams& p, const RopePlan& plan, std::int64_t begin,
                   std::int64_t end) {
  p.interleaved ? rotate_all<T, true>(p, plan, begin, end)
                : rotate_all<T, false>(p, plan, begin, end);
}

inline void rope(const RopeParams& p, const RopePlan& plan, std::int64_t begin, std::int64_t end) {
  switch (p.dtype) {
    case core::DType::kFloat32:
      return rotate_layout<float>(p, plan, begin, end);
    case core::DType::kFloat64:
      return rotate_layout<double>(p, plan, begin, end);
    case core::DType::kBFloat16:
      return rotate_layout<core::BFloat16>(p, plan, begin, end);
    case core::DType::kFloat16:
      return rotate_layout<core::Float16>(p, plan, begin, end);
  }
}

}  // namespace roformer_ext::cpu::ROFORMER_EXT_ISA
