// What write_checkpoints.py has written: checkpoints, each with a batch and what Python makes of
// it.
//
// The idea: a test names a case and reads tensors by the names that the script gave them. The
// folder is ROFORMER_EXT_CHECKPOINTS in the environment, which CTest sets.
#pragma once

#include <ATen/ATen.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>

#include "io/mapped_file.h"
#include "io/safetensors.h"

namespace roformer_ext::nn::testing {

inline std::string checkpoints() {
  const char* folder = std::getenv("ROFORMER_EXT_CHECKPOINTS");
  if (folder == nullptr) throw std::runtime_error("ROFORMER_EXT_CHECKPOINTS must be set");
  return folder;
}

class Expected {
 public:
  explicit Expected(const std::string& directory) {
    const std::string path = directory + "/expected.safetensors";
    const io::MappedFile file(path);
    for (const auto& [name, view] : io::parse_safetensors(file.bytes(), path)) {
      const at::Tensor tensor = at::empty(view.shape, type_of(view.dtype));
      std::memcpy(tensor.data_ptr(), view.bytes.data(), view.bytes.size());
      tensors_.emplace(name, tensor);
    }
  }

  // Nothing where the case has none.
  std::optional<at::Tensor> find(const std::string& name) const {
    const auto found = tensors_.find(name);
    return found == tensors_.end() ? std::nullopt : std::optional(found->second);
  }
  const at::Tensor& at(const std::string& name) const { return tensors_.at(name); }

  std::optional<at::Tensor> mask() const {
    const auto masks = under("input.");
    const auto is_mask = [](const auto& input) { return input.first.ends_with("_mask"); };
    const auto found = std::ranges::find_if(masks, is_mask);
    return found == masks.end() ? std::nullopt : std::optional(found->second);
  }

  // Those whose name begins with `prefix`, without it.
  std::map<std::string, at::Tensor> under(const std::string& prefix) const {
    std::map<std::string, at::Tensor> result;
    for (const auto& [name, tensor] : tensors_) {
      if (name.starts_with(prefix)) result.emplace(name.substr(prefix.size()), tensor);
    }
    return result;
  }

 private:
  static at::ScalarType type_of(io::Dtype dtype) {
    switch (dtype) {
      case io::Dtype::kBool:
        return at::kBool;
      case io::Dtype::kI64:
        return at::kLong;
      case io::Dtype::kF64:
        return at::kDouble;
      case io::Dtype::kF32:
        return at::kFloat;
      default:
        throw std::runtime_error("an unexpected dtype");
    }
  }

  std::map<std::string, at::Tensor> tensors_;
};

}  // namespace roformer_ext::nn::testing
