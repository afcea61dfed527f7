// The two ways in which fill_mask refuses: what ends the program, and what costs one line its
// answer.
//
// Both are one sentence. A line's number is put before it where the line was read.
#pragma once

#include <stdexcept>

namespace fill_mask {

// A file, a model or a command line that is not what it must be.
class Refusal : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// A line that has no answer; the lines after it do.
class BadLine : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace fill_mask
