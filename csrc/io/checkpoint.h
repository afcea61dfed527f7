// A checkpoint directory: which RoFormer it holds, V1, V2 or Sim, of which sizes, and its tensors.
//
// The idea: config.json decides; where it says nothing, the names and shapes of the tensors do, and
// where both speak of a size they must agree. What must stay true: the sizes of the configuration
// are those of the file, so a model that is built from it takes no memory that a lie asked for.
#pragma once

#include <roformer_ext/config.h>

#include <string>
#include <vector>

#include "io/tensor_files.h"

namespace roformer_ext::io {

// Names of tensors: of the encoder on a head, of the word embeddings, and of the decoder that they
// may be tied to.
inline constexpr std::string_view kBody = "roformer.";
inline constexpr std::string_view kWords = "embeddings.word_embeddings.weight";
inline constexpr std::string_view kDecoder = "cls.predictions.decoder.weight";
inline constexpr std::string_view kPositionTable = "encoder.embed_positions.weight";

struct Checkpoint {
  std::string path;                // of the tensors, for messages
  std::vector<MappedFile> mapped;  // what the views look into
  RoFormerConfig config;
  TensorViews body;                 // of the encoder, under the names of a bare RoFormerModel
  TensorViews head;                 // the others, under their own
  std::vector<std::string> unused;  // in neither: what published files carry without a use
};

// FileError names the file, and the tensor, the field or the byte, that is not what it must be.
Checkpoint read_checkpoint(const std::string& directory);

}  // namespace roformer_ext::io
