// `rope` as ATen operators: same checks, same bits, same strides as the kernels, and transparent to
// every transform.
//
// Sizes are symbolic and everything is out of place, so that vmap, forward-mode AD, fake tensors
// and compilers can look through. Tables are converted to the arithmetic type once, at the start:
// their gradients are then accumulated in that type and rounded once.
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/where.h>

#include <algorithm>
#include <numeric>

#include "ops/rope/shape.h"

namespace roformer_ext::ops {
namespace {

using at::Tensor;
using c10::SymInt;
using Shape = RopeShape<SymInt>;

// Of x or of a table: what belongs to the first and to the second member of each pair.
struct Members {
  Tensor first;
  Tensor second;
};

at::ScalarType arithmetic_type(const Tensor& x) {
  return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

// A table row for each id. -1 reads some row, whose values are not used. Any other negative id is
// sent behind the end, because a compiled gather would wrap it to the front.
Tensor gather_rows(const Tensor& table, const Tensor& ids) {
  const bool empty = table.sym_size(0) == 0;  // legal while every id is -1
  const Tensor rows = empty ? table.new_zeros_symint({1, table.sym_size(1)}) : table;
  const Tensor flat_ids = ids.reshape({-1});
  const Tensor behind = at::scalar_tensor(rows.sym_size(0), flat_ids.options());
  Tensor row = at::where(flat_ids < -1, behind, flat_ids);
  if (empty) row = at::where(flat_ids >= 0, behind, row);
  row = at::where(flat_ids == -1, at::scalar_tensor(0, flat_ids.options()), row);
  c10::SymDimVector shape(ids.sym_sizes().begin(), ids.sym_sizes().end());
  shape.push_back(table.sym_size(1));
  return at::index_select(rows, 0, row).reshape_symint(shape);
}

// [S, k] or [B or 1, S, k], batch first, brought beside the dims of x (after [P, H] became one).
Tensor beside_x(Tensor t, const Shape& shape) {
  const bool has_batch_dim = t.dim() == 3;
  if (!has_batch_dim) t = t.unsqueeze(0);
  const bool x_has_batch = shape.batch_dim >= 0;
  if (!x_has_batch) t = t.squeeze(0);
  if (x_has_batch && shape.seq_dim < shape.batch_dim) t = t.transpose(0, 1);
  if (shape.head_dim >= 0) {
    const bool heads_before_seq = shape.head_dim < shape.seq_dim;
    t = t.unsqueeze(heads_before_seq ? 1 : -2);
  }
  return t;
}

// [..., P or 1, H or 1, k] to [..., P * H, k].
Tensor flatten_groups(const Tensor& t, const Shape& shape) {
  c10::SymDimVector size(t.sym_sizes().begin(), t.sym_sizes().end());
  size[2] = shape.groups;
  size[3] = shape.heads;
  return t.expand_symint(size).flatten(2, 3);
}

Tensor place_table(const Tensor& table, const RopeArguments& a, const Shape& shape) {
  const Tensor t = table.to(arithmetic_type(a.x));
  switch (shape.form) {
    case TableForm::kIndexed:
      return beside_x(
          a.has_ids() ? gather_rows(t, *a.position_ids) : t.narrow_symint(0, 0, shape.seq), shape);
    case TableForm::kPerToken:
      return beside_x(t, shape);
    default:
      return shape.group_dim >= 0 ? flatten_groups(t, shape) : t;
  }
}

// Where the members of the pairs stand: along the last dim from `first` and from `second` on, every
// `step`-th entry.
struct Places {
  SymInt first, second, length;
  std::int64_t step;

  Places(const SymInt& offset, const SymInt& pairs, bool interleaved)
      : first(offset),
        second(interleaved ? offset + 1 : offset + pairs),
        length(interleaved ? pairs * 2 : pairs),
        step(interleaved ? 2 : 1) {}
};

Members split(const Tensor& t, const SymInt& offset, const SymInt& pairs, bool interleaved) {
  const Places in(offset, pairs, interleaved);
  return {t.slice_symint(-1, in.first, in.first + in.length, in.step),
          t.slice_symint(-1, in.second, in.second + in.length, in.step)};
}

// x with the members of its pairs replaced by y. Scattering and not concatenating: autocast leaves
// it alone under every transform, and what passes through is never touched.
Tensor join(const Tensor& x, const Members& y, const SymInt& offset, const SymInt& pairs,
            bool interleaved) {
  const Places in(offset, pairs, interleaved);
  // Into a clone: slice_scatter keeps the strides of what it is given, and those of x may overlap.
  return x.clone()
      .slice_scatter_symint(y.first, -1, in.first, in.first + in.length, in.step)
      .slice_scatter_symint(y.second, -1, in.second, in.second + in.length, in.step);
}

Members split_table(const Tensor& t, const RopeArguments& a, const Shape& shape, TableWidth width) {
  const Tensor placed = place_table(t, a, shape);
  Members table = width == TableWidth::kFull ? split(placed, 0, shape.pairs, a.options.interleaved)
                                             : Members{placed, placed};
  // Per-head tables span all heads; the first rows of them serve the heads that are rotated.
  if (shape.form == TableForm::kBroadcast && shape.head_dim >= 0 && a.options.heads.has_value()) {
    const int dim = shape.group_dim >= 0 ? shape.group_dim : shape.head_dim;
    if (table.first.sym_size(dim) != 1 || shape.rotated_heads == 0) {
      table = {table.first.narrow_symint(dim, 0, shape.rotated_heads),
               table.second.narrow_symint(dim, 0, shape.rotated_heads)};
    }
  }
  return table;
}

// Entries of tokens that are left alone become zero, so that nothing of such a token reaches the
// tables' gradients, not even infinity times zero. (Doing this to x instead would save a copy of x
// for backward.)
Members silence(const Members& t, const Tensor& left_alone) {
  const Tensor zero = at::scalar_tensor(0, t.first.options());
  return {at::where(left_alone, zero, t.first), at::where(left_alone, zero, t.second)};
}

// x with all its heads rotated.
Tensor rotate(const Tensor& x, const RopeArguments& a, const Shape& shape, TableWidth width) {
  const RopeOptions& o = a.options;
  Members c = split_table(a.cos, a, shape, width), s = split_table(a.sin, a, shape, width);
  const Members original = split(x, o.rotary_offset, shape.pairs, o.interleaved);
  const Tensor x1 = original.first.to(arithmetic_type(x)),
               x2 = original.second.to(arithmetic_type(x));
  Tensor left_alone;
  if (a.has_ids()) {
    left_alone = beside_x(a.position_ids->unsqueeze(-1) == -1, shape);
    c = silence(c, left_alone);
    s = silence(s, left_alone);
  }
  Tensor y1 = o.conj ? x1 * c.first + x2 * s.second : x1 * c.first - x2 * s.first;
  Tensor y2 = o.conj ? x2 * c.second - x1 * s.first : x1 * s.second + x2 * c.second;
  y1 = y1.to(x.scalar_type());
  y2 = y2.to(x.scalar_type());
  if (a.has_ids()) {
    y1 = at::where(left_alone, original.first, y1);
    y2 = at::where(left_alone, original.second, y2);
  }
  return join(x, {y1, y2}, o.rotary_offset, shape.pairs, o.interleaved);
}

// The strides that empty_like(x) would have: some order of the dims, without gaps.
Tensor with_strides_of(const Tensor& y, const Tensor& x) {
  const Tensor like = at::empty_like(x);
  const auto strides = like.sym_strides();
  std::vector<std::int64_t> order(static_cast<std::size_t>(x.dim()));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::int64_t i, std::int64_t j) {
    return strides[static_cast<std::size_t>(i)] > strides[static_cast<std::size_t>(j)];
  });
  std::vector<std::int64_t> back(order.size());
  for (std::size_t i = 0; i < order.size(); ++i)
    back[static_cast<std::size_t>(order[i])] = static_cast<std::int64_t>(i);
  return y.permute(order).contiguous().permute(back);
}

Tensor composite(const RopeArguments& a, TableWidth width) {
  const Shape shape = check_rope<SymInt>(a, width);
  const bool grouped = shape.group_dim >= 0;
  const Tensor x = grouped ? a.x.flatten(2, 3) : a.x;
  Tensor y;
  if (a.options.heads.has_value()) {
    const int dim = grouped ? shape.group_dim : shape.head_dim;
    const Tensor rotated = rotate(x.narrow_symint(dim, 0, shape.rotated_heads), a, shape, width);
    y = x.clone().slice_scatter_symint(rotated, dim, 0, shape.rotated_heads);
  } else {
    y = rotate(x, a, shape, width);
  }
  if (grouped) y = y.unflatten_symint(2, {shape.groups, shape.heads});
  return with_strides_of(y, a.x);
}

}  // namespace

Tensor rope_composite(const RopeArguments& a) { return composite(a, TableWidth::kHalf); }

// On a copy, because the operators above may have saved x for their derivatives.
void rope_composite_(const RopeArguments& a) {
  const Tensor x = a.x.clone();
  a.x.copy_(rope_composite({x, a.cos, a.sin, a.position_ids, a.options}));
}

Tensor rope_full_width_composite(const RopeArguments& a) { return composite(a, TableWidth::kFull); }

}  // namespace roformer_ext::ops
