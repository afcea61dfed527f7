// `RoFormerForSequenceClassification`: the first token speaks for its sequence. The activation
// between the two layers of the classifier is `hidden_act`, as published checkpoints were trained.
#include <ATen/ops/dropout.h>
#include <roformer_ext/encoder.h>

#include "nn/activation.h"
#include "nn/encoded.h"
#include "nn/losses.h"
#include "nn/parts.h"

namespace roformer_ext::nn {

// W2 dropout(activation(W1 dropout(x))), with biases whatever `use_bias` says, because published V2
// heads have them.
class ClassificationHead : public torch::nn::Module {
 public:
  ClassificationHead(const Scope& scope, const RoFormerConfig& config)
      : dropout_(config.hidden_dropout_prob), activation_(activation(config.hidden_act)) {
    const std::int64_t width = config.hidden_size;
    dense_ = register_module("dense", child<Linear>(scope, "dense", width, width, true));
    out_proj_ =
        register_module("out_proj", child<Linear>(scope, "out_proj", width, config.labels(), true));
  }

  // [B, C] to [B, num_labels].
  at::Tensor forward(const at::Tensor& first) const {
    const auto drop = [&](const at::Tensor& x) { return at::dropout(x, dropout_, is_training()); };
    return out_proj_->forward(drop(activation_(dense_->forward(drop(first)))));
  }

 private:
  double dropout_;
  Activation activation_;
  std::shared_ptr<Linear> dense_, out_proj_;
};

RoFormerForSequenceClassificationImpl::RoFormerForSequenceClassificationImpl(
    const RoFormerConfig& config)
    : RoFormerForSequenceClassificationImpl(config,
                                            DrawnParameters(config.initializer_range).scope()) {}

RoFormerForSequenceClassificationImpl::RoFormerForSequenceClassificationImpl(
    const RoFormerConfig& config, const Scope& scope) {
  roformer_ =
      register_module("roformer", std::make_shared<RoFormerModelImpl>(config, scope / "roformer"));
  classifier_ =
      register_module("classifier", child<ClassificationHead>(scope, "classifier", config));
}

ModelOutput RoFormerForSequenceClassificationImpl::forward(const at::Tensor& input_ids,
                                                           const OptionalTensor& attention_mask,
                                                           const OptionalTensor& token_type_ids,
                                                           const OptionalTensor& labels,
                                                           const OptionalTensor& position_ids,
                                                           std::optional<bool> unpad) {
  const Encoded encoded = roformer_->encode(input_ids, attention_mask, token_type_ids, position_ids,
                                            unpad, {.targets = {}, .first = true});
  ModelOutput output;
  output.last_hidden_state = encoded.padded(encoded.hidden);
  output.logits = classifier_->forward(encoded.first());
  if (const OptionalTensor targets = given(labels)) {
    output.loss = sequence_loss(output.logits, *targets, config().problem_type);
  }
  return output;
}

}  // namespace roformer_ext::nn
