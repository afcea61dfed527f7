// Filling the parameter struct of the rotary kernels; see core/rope_params.h for the form that they
// read.
#include "ops/rope/params.h"

namespace roformer_ext::ops {
namespace {

using Shape = RopeShape<std::int64_t>;

core::DType dtype_of(const at::Tensor& t) {
  switch (t.scalar_type()) {
    case at::kDouble:
      return core::DType::kFloat64;
    case at::kBFloat16:
      return core::DType::kBFloat16;
    case at::kHalf:
      return core::DType::kFloat16;
    default:
      return core::DType::kFloat32;
  }
}

// Stride of dim `dim` of a tensor in x's layout; 0 for a dim that is absent or broadcast.
std::int64_t stride_of(const at::Tensor& t, int dim) {
  return dim < 0 || t.size(dim) == 1 ? 0 : t.stride(dim);
}

core::RopeStrides layout_strides(const at::Tensor& t, const Shape& shape) {
  return {stride_of(t, shape.batch_dim), stride_of(t, shape.seq_dim), stride_of(t, shape.group_dim),
          stride_of(t, shape.head_dim), t.stride(-1)};
}

core::RopeTable table_of(const at::Tensor& t, const Shape& shape) {
  core::RopeTable table;
  table.data = t.const_data_ptr();
  table.dtype = dtype_of(t);
  switch (shape.form) {
    case TableForm::kIndexed:
      table.strides.seq = t.stride(0);
      table.strides.channel = t.stride(1);
      break;
    case TableForm::kPerToken:
      table.strides.batch = stride_of(t, 0);
      table.strides.seq = t.stride(1);
      table.strides.channel = t.stride(2);
      break;
    case TableForm::kBroadcast:
      table.strides = layout_strides(t, shape);
      break;
  }
  return table;
}

// [P, H] becomes one dim of P * H heads wherever memory allows.
void flatten_groups(core::RopeParams& p) {
  core::RopeStrides* const all[] = {&p.x_strides, &p.out_strides, &p.cos.strides, &p.sin.strides};
  for (core::RopeStrides* s : all) {
    if (p.heads == 1) s->head = s->group;
    if (p.groups != 1 && s->group != p.heads * s->head) return;
  }
  for (core::RopeStrides* s : all) s->group = 0;
  p.heads *= p.groups;
  p.groups = 1;
}

}  // namespace

core::RopeIds rope_ids(const at::Tensor& ids, const Shape& shape) {
  core::RopeIds to;
  to.data = ids.const_data_ptr();
  to.is_int64 = ids.scalar_type() == at::kLong;
  to.batch_stride = ids.dim() == 2 ? stride_of(ids, 0) : 0;
  to.seq_stride = ids.stride(-1);
  to.rows = shape.rows;
  return to;
}

core::RopeParams rope_params(const RopeArguments& a, const Shape& shape, const at::Tensor& out) {
  core::RopeParams p;
  p.x = a.x.const_data_ptr();
  p.out = out.mutable_data_ptr();
  p.dtype = dtype_of(a.x);
  p.x_strides = layout_strides(a.x, shape);
  p.out_strides = layout_strides(out, shape);
  p.cos = table_of(a.cos, shape);
  p.sin = table_of(a.sin, shape);
  if (a.has_ids()) p.ids = rope_ids(*a.position_ids, shape);
  p.batch = shape.batch;
  p.seq = shape.seq;
  p.groups = shape.groups;
  p.heads = shape.heads;
  p.rotated_heads = shape.rotated_heads;
  p.head_dim = shape.channels;
  p.pairs = shape.pairs;
  p.offset = a.options.rotary_offset;
  p.interleaved = a.options.interleaved;
  p.conj = a.options.conj;
  if (shape.group_dim >= 0) flatten_groups(p);
  return p;
}

}  // namespace roformer_ext::ops
