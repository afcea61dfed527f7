// Parameters from a checkpoint: copies in float32, held to the shapes that the model has.
//
// The idea: what has been asked for is noted, so that at the end whatever the file holds besides is
// known. What must stay true: a tensor that is missing, extra or wrongly shaped is one FileError
// that names it, and a parameter shares no memory with the file.
#pragma once

#include <set>
#include <string>

#include "io/checkpoint.h"
#include "nn/parameters.h"

namespace roformer_ext::nn {

class CheckpointParameters : public ParameterSource {
 public:
  // bare: names are those of a bare encoder, and what the file holds of a head is left alone.
  CheckpointParameters(const io::Checkpoint& checkpoint, bool bare)
      : checkpoint_(checkpoint), bare_(bare) {}

  at::Tensor take(const std::string& name, at::IntArrayRef shape, const Start& start) override;
  bool has(const std::string& name) const override { return find(name) != nullptr; }
  void accept(const std::string& name, const at::Tensor& value) override;
  void ignore(const std::string& name) override { used_.insert(name); }

  // Checks what is left: the position table against its formula, and that nothing else is; warns of
  // tensors that published files carry without a use.
  void finish();

 private:
  const io::TensorView* find(const std::string& name) const;
  at::Tensor read(const std::string& name, const io::TensorView& view) const;
  void check_position_table(const std::string& name, const io::TensorView& view) const;
  [[noreturn]] void refuse(const std::string& name, const std::string& what) const;

  const io::Checkpoint& checkpoint_;
  bool bare_;
  std::set<std::string> used_;
};

}  // namespace roformer_ext::nn
