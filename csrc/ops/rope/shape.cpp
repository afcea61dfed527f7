// Checks of `rope`'s arguments; see shape.h.
#include "ops/rope/shape.h"

#include <c10/core/SymIntArrayRef.h>
#include <c10/util/Exception.h>

#define ROPE_CHECK(condition, ...) TORCH_CHECK(condition, "rope: ", __VA_ARGS__)

namespace roformer_ext::ops {
namespace {

template <class Int>
c10::ArrayRef<Int> sizes(const at::Tensor& t) {
  if constexpr (std::is_same_v<Int, std::int64_t>) {
    return t.sizes();
  } else {
    return t.sym_sizes();
  }
}

// A shape of any number of dims in a message of bounded length.
template <class Int>
std::string shown(c10::ArrayRef<Int> sizes) {
  return sizes.size() <= 8 ? c10::str(sizes) : c10::str(sizes.slice(0, 8), " and more dims");
}

void check_tensor(const at::Tensor& t, const char* name) {
  ROPE_CHECK(!t.is_nested(), name, " must be a dense tensor, got a nested one");
  ROPE_CHECK(t.layout() == at::kStrided, name, " must be a strided tensor, got layout ",
             t.layout());
  const at::ScalarType type = t.scalar_type();
  ROPE_CHECK(
      type == at::kFloat || type == at::kDouble || type == at::kBFloat16 || type == at::kHalf, name,
      " must be float32, float64, bfloat16 or float16, got ", type);
}

void check_device(const at::Tensor& t, const char* name, const at::Tensor& x) {
  ROPE_CHECK(t.device() == x.device(), name, " must be on the device of x, ", x.device(), ", got ",
             t.device());
}

template <class Int>
void name_dims(const RopeArguments& a, RopeShape<Int>& shape) {
  const auto dims = static_cast<int>(a.x.dim());
  ROPE_CHECK(dims >= 2 && dims <= 5, "x must have 2 to 5 dims, got ", dims);
  const std::int64_t given = a.options.seq_dim;
  const std::int64_t seq = given < 0 ? given + dims : given;
  switch (dims * 10 + (seq >= 0 && seq < 10 ? static_cast<int>(seq) : 9)) {
    case 20:  // [S, D]
      break;
    case 30:  // [T, H, D]
      shape.head_dim = 1;
      break;
    case 31:  // [B, S, D]
      shape.batch_dim = 0;
      break;
    case 40:  // [S, B, H, D]
      shape.batch_dim = 1;
      shape.head_dim = 2;
      break;
    case 41:  // [B, S, H, D]
      shape.batch_dim = 0;
      shape.head_dim = 2;
      break;
    case 42:  // [B, H, S, D]
      shape.batch_dim = 0;
      shape.head_dim = 1;
      break;
    case 51:  // [B, S, P, H, D]
      shape.batch_dim = 0;
      shape.group_dim = 2;
      shape.head_dim = 3;
      break;
    default: {
      const char* wanted = dims == 2   ? "0"
                           : dims == 3 ? "0 ([T, H, D]) or 1 ([B, S, D])"
                           : dims == 4 ? "0 ([S, B, H, D]), 1 ([B, S, H, D]) or 2 ([B, H, S, D])"
                                       : "1 ([B, S, P, H, D])";
      ROPE_CHECK(false, "seq_dim of a ", dims, "-D x must be ", wanted,
                 ", or its negative spelling, got ", given);
    }
  }
  shape.seq_dim = static_cast<int>(seq);
  const auto x = sizes<Int>(a.x);
  shape.seq = x[shape.seq_dim];
  shape.channels = x[dims - 1];
  if (shape.batch_dim >= 0) shape.batch = x[shape.batch_dim];
  if (shape.group_dim >= 0) shape.groups = x[shape.group_dim];
  if (shape.head_dim >= 0) shape.heads = x[shape.head_dim];
}

template <class Int>
void check_heads(const RopeArguments& a, RopeShape<Int>& shape) {
  const Int all = shape.groups * shape.heads;
  if (!a.options.heads.has_value()) {
    shape.rotated_heads = all;
    return;
  }
  const std::int64_t heads = *a.options.heads;
  ROPE_CHECK(shape.head_dim >= 0, "heads must be None for an x without a head dim, got ", heads,
             " with x ", sizes<Int>(a.x));
  ROPE_CHECK(heads >= 0 && all >= heads, "heads must lie in [0, ", all, "], the heads of x ",
             sizes<Int>(a.x), ", got ", heads);
  shape.rotated_heads = heads;
}

template <class Int>
bool is_one_or(const Int& size, const Int& wanted) {
  return size == wanted || size == 1;
}

template <class Int>
void check_table(const RopeArguments& a, TableWidth width, RopeShape<Int>& shape) {
  const auto x = sizes<Int>(a.x), cos = sizes<Int>(a.cos), sin = sizes<Int>(a.sin);
  ROPE_CHECK(cos == sin, "sin must have the shape of cos, ", shown(cos), ", got ", shown(sin));
  const std::int64_t dims = a.cos.dim(), x_dims = a.x.dim();
  if (dims == 2) {
    shape.form = TableForm::kIndexed;
    shape.rows = cos[0];
    ROPE_CHECK(a.has_ids() || shape.rows >= shape.seq,
               "cos and sin must have a row for each of the ", shape.seq, " positions of x ", x,
               ", got ", cos);
  } else if (dims == x_dims) {
    shape.form = TableForm::kBroadcast;
    for (std::int64_t d = 0; d + 1 < dims; ++d) {
      ROPE_CHECK(is_one_or(cos[d], x[d]),
                 "cos and sin must broadcast against all dims but the last of x ", x, ", got ",
                 cos);
    }
  } else {
    shape.form = TableForm::kPerToken;
    ROPE_CHECK(dims == 3 && is_one_or(cos[0], shape.batch) && cos[1] == shape.seq,
               "cos and sin must be [n, R], [", shape.batch, " or 1, ", shape.seq,
               ", R] or have the dims of x ", x, ", got ", shown(cos));
  }
  const Int& last = cos[dims - 1];
  if (width == TableWidth::kFull) {
    ROPE_CHECK(last % 2 == 0, "full-width cos and sin must have an even last dim, got ", cos);
    shape.pairs = last / 2;
  } else {
    shape.pairs = last;
  }
  const std::int64_t offset = a.options.rotary_offset;
  ROPE_CHECK(offset >= 0, "rotary_offset must not be negative, got ", offset);
  // In this order nothing can overflow.
  ROPE_CHECK(shape.channels >= offset && shape.channels - offset >= shape.pairs * 2,
             "cos and sin with ", shape.pairs, " pairs at rotary_offset ", offset,
             " must fit the last dim of x ", x, ", got ", cos);
}

template <class Int>
void check_ids(const RopeArguments& a, const RopeShape<Int>& shape) {
  const at::Tensor& ids = *a.position_ids;
  ROPE_CHECK(ids.layout() == at::kStrided, "position_ids must be a strided tensor, got layout ",
             ids.layout());
  ROPE_CHECK(ids.scalar_type() == at::kInt || ids.scalar_type() == at::kLong,
             "position_ids must be int32 or int64, got ", ids.scalar_type());
  check_device(ids, "position_ids", a.x);
  ROPE_CHECK(shape.form == TableForm::kIndexed,
             "position_ids need cos and sin to be a table [n, R], got ", sizes<Int>(a.cos),
             " with position_ids of ", ids.dim(), " dims");
  const auto size = sizes<Int>(ids);
  const bool fits = (ids.dim() == 1 && size[0] == shape.seq) ||
                    (ids.dim() == 2 && is_one_or(size[0], shape.batch) && size[1] == shape.seq);
  ROPE_CHECK(fits, "position_ids must be [", shape.seq, "] or [", shape.batch, " or 1, ", shape.seq,
             "] for x ", sizes<Int>(a.x), ", got ", shown(size));
}

}  // namespace

template <class Int>
RopeShape<Int> check_rope(const RopeArguments& a, TableWidth width) {
  check_tensor(a.x, "x");
  check_tensor(a.cos, "cos");
  check_tensor(a.sin, "sin");
  check_device(a.cos, "cos", a.x);
  check_device(a.sin, "sin", a.x);
  RopeShape<Int> shape;
  name_dims(a, shape);
  check_heads(a, shape);
  check_table(a, width, shape);
  if (a.has_ids()) check_ids(a, shape);
  return shape;
}

template RopeShape<std::int64_t> check_rope(const RopeArguments&, TableWidth);
template RopeShape<c10::SymInt> check_rope(const RopeArguments&, TableWidth);

}  // namespace roformer_ext::ops
