// The RoFormer encoder for C++: models on torch::nn, built from a checkpoint directory.
//
// A directory holds config.json and model.safetensors (or shards and their index), as written by
// `save_pretrained` of the Python package or of transformers; V1, V2 and Sim. What must stay true:
// results equal those of the Python classes of the same names, and so do the names of parameters.
//
//   auto model = roformer_ext::nn::RoFormerForMaskedLM::from_pretrained("checkpoint");
//   c10::InferenceMode guard;
//   at::Tensor logits = model->forward(input_ids, attention_mask).logits;
//
// To train, call model->train() and give model->parameters() to an optimiser.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

#include <memory>
#include <optional>
#include <string>

#include "roformer_ext/config.h"
#include "roformer_ext/export.h"

namespace roformer_ext::nn {

class Embeddings;
class Linear;
class Layers;
class MaskedLMHead;
class ClassificationHead;
class Scope;
struct Encoded;
struct Reads;

using OptionalTensor = std::optional<at::Tensor>;

// What a model returns; what it has not computed is undefined.
struct ModelOutput {
  at::Tensor last_hidden_state;  // [B, S, C]
  at::Tensor pooler_output;      // [B, C], where the configuration names a pooler_activation
  at::Tensor logits;
  at::Tensor loss;  // a scalar
};

// The encoder without a head. All models take, for B sequences of S tokens:
//
// input_ids: [B, S], int32 or int64.
// attention_mask: [B, S] of any dtype, nonzero = token; or 4-D, [B or 1, H or 1, S or 1, S], bool
//   (true = attend) or additive floating point, which replaces causality and prefix as well. A
//   query whose keys are all masked gets their uniform average.
// token_type_ids: [S] or [B, S]; 0 when not given.
// position_ids: [S] or [B, S], any position; the index in the sequence when not given, and -1 = do
//   not rotate this token.
//
// unpad: drop padding, which attention_mask [B, S] names, for the computation, and put zeros there
//   in the result. When not given it is done on the CPU where padding is at least a tenth of all
//   positions and nothing on it is read, by a label, a pooler or a classifier; a decoder's too,
//   which in Python stays while a cache is made. true does it for any amount on any device, and is
//   refused where padding is read or the mask is not [B, S]; false keeps padding.
//
// c10::Error says in one sentence which argument does not fit.
class ROFORMER_EXT_API RoFormerModelImpl : public torch::nn::Module {
 public:
  // Random weights, in training mode. std::invalid_argument names a field of the configuration that
  // no model could mean or that has no C++ form: linear attention, cross-attention.
  explicit RoFormerModelImpl(const RoFormerConfig& config);
  // For `from_pretrained` and the heads: the parameters come from a file.
  RoFormerModelImpl(const RoFormerConfig& config, const Scope& scope);

  ModelOutput forward(const at::Tensor& input_ids, const OptionalTensor& attention_mask = {},
                      const OptionalTensor& token_type_ids = {},
                      const OptionalTensor& position_ids = {}, std::optional<bool> unpad = {});

  // For the heads: `forward` without padding the result back; `reads` is what the head reads.
  Encoded encode(const at::Tensor& input_ids, const OptionalTensor& attention_mask,
                 const OptionalTensor& token_type_ids, const OptionalTensor& position_ids,
                 std::optional<bool> unpad, const Reads& reads) const;

  const RoFormerConfig& config() const { return config_; }
  // [V, E], the parameter that a decoder may be tied to.
  const at::Tensor& word_embeddings() const;

 private:
  RoFormerConfig config_;
  std::shared_ptr<Embeddings> embeddings_;
  std::shared_ptr<Linear> embeddings_project_;  // where E != C
  std::shared_ptr<Layers> layers_;
  std::shared_ptr<Linear> pooler_;
};

// The encoder with a masked-LM head, whose decoder is the word embeddings unless untied: tied, they
// are one parameter, named roformer.embeddings.word_embeddings.weight. The decoder's bias is named
// cls.predictions.bias.
//
// labels: [B, S], int32 or int64, the token to predict, -100 where there is none. The loss is the
//   mean over all labels, NaN without one.
//
// logits [B, S, V] are returned without labels and in eval mode; in training with labels the head
// runs on labelled positions only. Who wants the logits of few positions calls the two parts, of
// which the head is the larger one in a small model:
//
//   at::Tensor hidden = model->roformer()->forward(input_ids, attention_mask).last_hidden_state;
//   at::Tensor logits = model->logits_of(hidden.index({input_ids.eq(mask_id)}));   // [n, V]
class ROFORMER_EXT_API RoFormerForMaskedLMImpl : public torch::nn::Module {
 public:
  explicit RoFormerForMaskedLMImpl(const RoFormerConfig& config);
  RoFormerForMaskedLMImpl(const RoFormerConfig& config, const Scope& scope);

  ModelOutput forward(const at::Tensor& input_ids, const OptionalTensor& attention_mask = {},
                      const OptionalTensor& token_type_ids = {}, const OptionalTensor& labels = {},
                      const OptionalTensor& position_ids = {}, std::optional<bool> unpad = {});

  const std::shared_ptr<RoFormerModelImpl>& roformer() const { return roformer_; }
  // Hidden states [..., C] to logits [..., V].
  at::Tensor logits_of(const at::Tensor& hidden) const;

  const RoFormerConfig& config() const { return roformer_->config(); }

 private:
  std::shared_ptr<RoFormerModelImpl> roformer_;
  std::shared_ptr<MaskedLMHead> head_;
};

// The encoder with a classifier of whole sequences, which reads the first token.
//
// labels, by `problem_type`, which left empty is regression with one label, a single label when
// labels are integers, else several:
//   "single_label_classification": [B] or [B, 1], int32 or int64, cross-entropy;
//   "regression": [B, num_labels], or [B] where that is 1, mean squared error;
//   "multi_label_classification": [B, num_labels], 1 = yes, binary cross-entropy.
//   -100 is no label; the loss is the mean over the others, NaN without one.
//
// logits are [B, num_labels].
class ROFORMER_EXT_API RoFormerForSequenceClassificationImpl : public torch::nn::Module {
 public:
  explicit RoFormerForSequenceClassificationImpl(const RoFormerConfig& config);
  RoFormerForSequenceClassificationImpl(const RoFormerConfig& config, const Scope& scope);

  ModelOutput forward(const at::Tensor& input_ids, const OptionalTensor& attention_mask = {},
                      const OptionalTensor& token_type_ids = {}, const OptionalTensor& labels = {},
                      const OptionalTensor& position_ids = {}, std::optional<bool> unpad = {});

  const RoFormerConfig& config() const { return roformer_->config(); }

 private:
  std::shared_ptr<RoFormerModelImpl> roformer_;
  std::shared_ptr<ClassificationHead> classifier_;
};

// The holders, used like those of torch::nn.
//
// from_pretrained: the model that a directory holds, in eval mode, its parameters float32 whatever
//   the file has (F64, F32, F16 or BF16) and independent of the file. RoFormerModel loads from any
//   head's directory. std::runtime_error says in one sentence which file, and which tensor, field
//   or byte of it, does not fit.
class ROFORMER_EXT_API RoFormerModel : public torch::nn::ModuleHolder<RoFormerModelImpl> {
 public:
  using torch::nn::ModuleHolder<RoFormerModelImpl>::ModuleHolder;
  static RoFormerModel from_pretrained(const std::string& directory);
};

class ROFORMER_EXT_API RoFormerForMaskedLM
    : public torch::nn::ModuleHolder<RoFormerForMaskedLMImpl> {
 public:
  using torch::nn::ModuleHolder<RoFormerForMaskedLMImpl>::ModuleHolder;
  static RoFormerForMaskedLM from_pretrained(const std::string& directory);
};

class ROFORMER_EXT_API RoFormerForSequenceClassification
    : public torch::nn::ModuleHolder<RoFormerForSequenceClassificationImpl> {
 public:
  using torch::nn::ModuleHolder<RoFormerForSequenceClassificationImpl>::ModuleHolder;
  static RoFormerForSequenceClassification from_pretrained(const std::string& directory);
};

}  // namespace roformer_ext::nn
