// The tensors of one safetensors file, as views of its bytes.
//
// The idea: everything that a file says of itself is held to its length before a tensor is made of
// it. What must stay true: the tensors fill the data exactly, without overlap or hole, and no
// memory is taken by a number that the file states. Reads of views stay inside the file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "io/safetensors_header.h"

namespace roformer_ext::io {

struct TensorView {
  Dtype dtype = Dtype::kBool;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> bytes;  // row-major, little-endian, aligned to nothing
};

using TensorViews = std::map<std::string, TensorView, std::less<>>;

// Views into `file`, the whole of it; `path` is for messages. FileError where the header is longer
// than 100 MB or than the file, or malformed, or where the tensors do not fill the rest exactly.
TensorViews parse_safetensors(std::span<const std::byte> file, const std::string& path);

}  // namespace roformer_ext::io
