// Models from directories.
//
// The idea: a directory is read and checked, then a model is built that takes its parameters from
// it. What must stay true: no model comes of a file that does not fit, and one that was loaded in
// inference mode can still be trained.
#include <c10/core/InferenceMode.h>
#include <roformer_ext/encoder.h>

#include <memory>
#include <stdexcept>
#include <type_traits>

#include "io/checkpoint.h"
#include "io/file_error.h"
#include "nn/checkpoint_parameters.h"

namespace roformer_ext::nn {
namespace {

template <class Model>
std::shared_ptr<Model> load(const std::string& directory) {
  const c10::InferenceMode normal(false);
  const io::Checkpoint checkpoint = io::read_checkpoint(directory);
  CheckpointParameters parameters(checkpoint, std::is_same_v<Model, RoFormerModelImpl>);
  try {
    auto model = std::make_shared<Model>(checkpoint.config, Scope(parameters));
    parameters.finish();
    model->eval();
    return model;
  } catch (const std::invalid_argument& error) {
    throw io::FileError(directory + "/config.json: " + error.what());
  }
}

}  // namespace

RoFormerModel RoFormerModel::from_pretrained(const std::string& directory) {
  return load<RoFormerModelImpl>(directory);
}

RoFormerForMaskedLM RoFormerForMaskedLM::from_pretrained(const std::string& directory) {
  return load<RoFormerForMaskedLMImpl>(directory);
}

RoFormerForSequenceClassification RoFormerForSequenceClassification::from_pretrained(
    const std::string& directory) {
  return load<RoFormerForSequenceClassificationImpl>(directory);
}

}  // namespace roformer_ext::nn
