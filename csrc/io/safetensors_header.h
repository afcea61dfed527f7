// The header of a safetensors file: JSON that says of each tensor its dtype, shape and bytes.
//
// The idea: the text is judged while it is read, token by token, and the first one that has no
// place in a header ends the reading. So a header of 100 MB cannot become gigabytes of values. What
// must stay true: an entry that comes out of here is complete, and its numbers are not yet
// believed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace roformer_ext::io {

// The element types of the format that torch has.
enum class Dtype : std::uint8_t { kBool, kU8, kI8, kI16, kI32, kI64, kF16, kBF16, kF32, kF64 };

// Bytes of one element.
std::size_t width_of(Dtype dtype);
// Its name in the format, such as "BF16".
std::string_view name_of(Dtype dtype);

struct HeaderEntry {
  std::string name;
  Dtype dtype = Dtype::kBool;
  std::vector<std::int64_t> shape;  // at most 16 sizes, none negative
  std::uint64_t begin = 0;          // from the first byte after the header
  std::uint64_t end = 0;
};

// The entries in the order of the text; `__metadata__`, an object of strings, is read and dropped.
// FileError, with `file` in it, where the text is anything but that or has a name twice.
std::vector<HeaderEntry> read_header(std::string_view text, const std::string& file);

}  // namespace roformer_ext::io
