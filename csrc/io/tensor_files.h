// The tensors of a checkpoint directory, in one file or in shards.
//
// The idea: a directory is read by the first of two names that is there, the file of all tensors or
// the index of the shards. What must stay true: an index and its shards say the same of every
// tensor, and a shard lies beside its index.
#pragma once

#include <string>
#include <vector>

#include "io/mapped_file.h"
#include "io/safetensors.h"

namespace roformer_ext::io {

struct TensorFiles {
  std::string path;                // the file of all tensors, or the index
  std::vector<MappedFile> mapped;  // what the views look into
  TensorViews tensors;
};

// Looks for model.safetensors, then for model.safetensors.index.json. FileError names the file, and
// the tensor or the byte, that is not what it must be; torch's pickles are refused.
TensorFiles read_tensors(const std::string& directory);

}  // namespace roformer_ext::io
