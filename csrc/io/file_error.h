// The one exception of this floor: a file that is not what it must be.
//
// The idea: a refusal is one sentence that names the file and the tensor, the field or the byte, so
// whoever reads it knows what to repair. What must stay true: text taken from a file is shown short
// and printable, whatever the file says.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace roformer_ext::io {

class FileError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// `text` between quotes: at most 80 bytes of it, and those outside printable ASCII as \xNN.
std::string in_quotes(std::string_view text);

}  // namespace roformer_ext::io
