// The command line.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <optional>
#include <string>

namespace fill_mask {

struct Arguments {
  std::string model;
  std::string vocab;  // the folder of the vocabulary; empty: that of the model
  std::int64_t batch = 16;
  std::optional<std::int64_t> threads;  // nothing: as torch chooses
  std::optional<at::ScalarType> dtype;  // nothing: float32, or the package's own
  std::int64_t top_k = 5;
  std::optional<std::int64_t> max_length;  // nothing: that of the model
  bool tokens = false;                     // show how lines are read, and answer nothing
  bool help = false;
};

extern const char* const kHelp;

// Refusal names the option that is unknown, or what it must be and what came.
Arguments parse_arguments(int count, char** words);

}  // namespace fill_mask
