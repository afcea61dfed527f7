// Where the parameters of a model come from: drawn anew, or read from a checkpoint.
//
// The idea: a module asks for each of its parameters by name and shape while it is built, so the
// architecture is written down once, in the modules, and a file is held to it there. What must stay
// true: memory for a parameter is taken only after the source has agreed to its shape.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

namespace roformer_ext::nn {

// How a parameter that is drawn starts.
struct Start {
  enum Kind : std::uint8_t { kNormal, kZero, kOne } kind = kNormal;
  std::optional<std::int64_t> zero_row = {};  // of an embedding: the padding token
};

class ParameterSource {
 public:
  virtual ~ParameterSource() = default;
  // A new float32 tensor of this shape.
  virtual at::Tensor take(const std::string& name, at::IntArrayRef shape, const Start& start) = 0;
  // Whether a file has this name.
  virtual bool has(const std::string& name) const = 0;
  // Accepts `name` as a second name of `value`: a file that has it must say the same.
  virtual void accept(const std::string& name, const at::Tensor& value) = 0;
  // Accepts `name` without using it.
  virtual void ignore(const std::string& name) = 0;
};

// A place in the tree of modules: a source and the names above.
class Scope {
 public:
  explicit Scope(ParameterSource& source, std::string prefix = "")
      : source_(&source), prefix_(std::move(prefix)) {}

  Scope operator/(const std::string& name) const { return Scope(*source_, prefix_ + name + "."); }
  at::Tensor take(const std::string& name, at::IntArrayRef shape, const Start& start) const {
    return source_->take(prefix_ + name, shape, start);
  }
  bool has(const std::string& name) const { return source_->has(prefix_ + name); }
  void accept(const std::string& name, const at::Tensor& value) const {
    source_->accept(prefix_ + name, value);
  }
  void ignore(const std::string& name) const { source_->ignore(prefix_ + name); }

 private:
  ParameterSource* source_;
  std::string prefix_;
};

// Weights from normal(0, deviation), biases and padding rows zero, gains one.
class DrawnParameters : public ParameterSource {
 public:
  explicit DrawnParameters(double deviation) : deviation_(deviation) {}
  Scope scope() { return Scope(*this); }
  at::Tensor take(const std::string& name, at::IntArrayRef shape, const Start& start) override;
  bool has(const std::string&) const override { return false; }
  void accept(const std::string&, const at::Tensor&) override {}
  void ignore(const std::string&) override {}

 private:
  double deviation_;
};

}  // namespace roformer_ext::nn
