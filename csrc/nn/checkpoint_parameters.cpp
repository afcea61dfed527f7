// The tensors of a file as parameters; the file's own sizes were settled by `io::read_checkpoint`.
#include "nn/checkpoint_parameters.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <c10/util/Exception.h>

#include <cstring>
#include <optional>

#include "io/file_error.h"
#include "nn/rotation.h"

namespace roformer_ext::nn {
namespace {

std::optional<at::ScalarType> floating_type(io::Dtype dtype) {
  switch (dtype) {
    case io::Dtype::kF64:
      return at::kDouble;
    case io::Dtype::kF32:
      return at::kFloat;
    case io::Dtype::kF16:
      return at::kHalf;
    case io::Dtype::kBF16:
      return at::kBFloat16;
    default:
      return {};
  }
}

std::string shown(at::IntArrayRef shape) {
  std::string text;
  for (const auto size : shape) text += (text.empty() ? "" : ", ") + std::to_string(size);
  return "[" + text + "]";
}

}  // namespace

at::Tensor CheckpointParameters::take(const std::string& name, at::IntArrayRef shape,
                                      const Start&) {
  const io::TensorView* view = find(name);
  if (view == nullptr) refuse(name, "of shape " + shown(shape) + ", got no such tensor");
  if (at::IntArrayRef(view->shape) != shape) {
    refuse(name, "of shape " + shown(shape) + ", got " + shown(view->shape));
  }
  used_.insert(name);
  return read(name, *view);
}

void CheckpointParameters::accept(const std::string& name, const at::Tensor& value) {
  const io::TensorView* view = find(name);
  if (view == nullptr) return;
  used_.insert(name);
  if (at::IntArrayRef(view->shape) != value.sizes() || !at::equal(read(name, *view), value)) {
    refuse(name, "as the tensor that it is tied to, got another value");
  }
}

void CheckpointParameters::finish() {
  const std::string prefix(bare_ ? "" : io::kBody);
  for (const auto& [name, view] : checkpoint_.body) {
    if (name == io::kPositionTable) {
      check_position_table(name, view);
    } else if (!used_.contains(prefix + name)) {
      refuse(name, "nowhere, got it in addition");
    }
  }
  for (const auto& [name, view] : checkpoint_.head) {
    if (!bare_ && !used_.contains(name)) refuse(name, "nowhere, got it in addition");
  }
  std::string unused;
  for (const auto& name : checkpoint_.unused) unused += (unused.empty() ? "" : ", ") + name;
  if (!unused.empty()) {
    TORCH_WARN(checkpoint_.path, " holds tensors without a use: ", unused);
  }
}

const io::TensorView* CheckpointParameters::find(const std::string& name) const {
  const bool body = bare_ || name.starts_with(io::kBody);
  const io::TensorViews& part = body ? checkpoint_.body : checkpoint_.head;
  const auto found = part.find(bare_ || !body ? name : name.substr(io::kBody.size()));
  return found == part.end() ? nullptr : &found->second;
}

at::Tensor CheckpointParameters::read(const std::string& name, const io::TensorView& view) const {
  const auto dtype = floating_type(view.dtype);
  if (!dtype) refuse(name, "in floating point, got " + std::string(io::name_of(view.dtype)));
  const at::Tensor copy = at::empty(view.shape, *dtype);
  if (!view.bytes.empty()) std::memcpy(copy.data_ptr(), view.bytes.data(), view.bytes.size());
  return copy.to(at::kFloat);
}

void CheckpointParameters::check_position_table(const std::string& name,
                                                const io::TensorView& view) const {
  const RoFormerConfig& config = checkpoint_.config;
  if (view.shape.size() != 2 || view.shape[1] != config.head_dim()) {
    refuse(name,
           "of shape [P, " + std::to_string(config.head_dim()) + "], got " + shown(view.shape));
  }
  const Rotation rows = rotation_of(config, view.shape[0], {}, at::kCPU);
  // A file may have been rounded to bfloat16, which moves a value near 1 by up to 2^-9.
  constexpr double kTolerance = 1.0 / 256;
  if (!at::allclose(read(name, view), at::cat({rows.sin, rows.cos}, -1), 0.0, kTolerance)) {
    refuse(name, "as [sin | cos] of its positions, got other values");
  }
}

void CheckpointParameters::refuse(const std::string& name, const std::string& what) const {
  throw io::FileError(checkpoint_.path + " must hold " + io::in_quotes(name) + " " + what);
}

}  // namespace roformer_ext::nn
