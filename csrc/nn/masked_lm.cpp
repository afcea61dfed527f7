// `RoFormerForMaskedLM`: a transform to the width of the embeddings, then a decoder over the
// vocabulary, which is the embedding matrix again where weights are tied.
#include <ATen/ops/linear.h>
#include <c10/util/Exception.h>
#include <roformer_ext/encoder.h>

#include "nn/activation.h"
#include "nn/encoded.h"
#include "nn/losses.h"
#include "nn/parts.h"

namespace roformer_ext::nn {

// The modules under `cls`. With "rms_norm" the decoder stands alone, or behind a plain projection
// where there are two widths, as RoFormer V2 has it.
class MaskedLMHead : public torch::nn::Module {
 public:
  MaskedLMHead(const Scope& scope, const RoFormerConfig& config, const at::Tensor& words)
      : activation_(activation(config.hidden_act)) {
    const auto predictions = register_module("predictions", std::make_shared<Group>());
    const Scope inner = scope / "predictions";
    const std::int64_t width = config.embedding_width();
    const bool whole = config.norm_type == "layer_norm";
    if (whole || width != config.hidden_size) {
      const auto transform = predictions->add("transform", std::make_shared<Group>());
      const Scope place = inner / "transform";
      dense_ = transform->add(
          "dense", child<Linear>(place, "dense", config.hidden_size, width, config.use_bias));
      if (whole)
        norm_ = transform->add("LayerNorm", child<Norm>(place, "LayerNorm", width, config));
    }
    decoder_ = decoder(*predictions, inner / "decoder", config, words);
    if (config.use_bias) {
      bias_ = predictions->register_parameter("bias", read_bias(inner, config));
    }
  }

  // [..., C] to logits [..., V].
  at::Tensor forward(at::Tensor hidden) const {
    if (dense_) hidden = dense_->forward(hidden);
    if (norm_) hidden = norm_->forward(activation_(hidden));
    return at::linear(hidden, decoder_, given(bias_));
  }

 private:
  static at::Tensor decoder(Group& predictions, const Scope& scope, const RoFormerConfig& config,
                            const at::Tensor& words) {
    if (config.tie_word_embeddings) {
      scope.accept("weight", words);
      return words;
    }
    const at::IntArrayRef shape = words.sizes();
    return predictions.add("decoder", std::make_shared<Group>())
        ->register_parameter("weight", scope.take("weight", shape, {Start::kNormal}));
  }

  // Checkpoints have it under two names: tied, either is enough; untied, the decoder's own counts.
  static at::Tensor read_bias(const Scope& scope, const RoFormerConfig& config) {
    const std::int64_t size = config.vocab_size;
    if (config.tie_word_embeddings && scope.has("bias")) {
      const at::Tensor bias = scope.take("bias", {size}, {Start::kZero});
      scope.accept("decoder.bias", bias);
      return bias;
    }
    scope.ignore("bias");
    return scope.take("decoder.bias", {size}, {Start::kZero});
  }

  Activation activation_;
  std::shared_ptr<Linear> dense_;
  std::shared_ptr<Norm> norm_;
  at::Tensor decoder_, bias_;
};

RoFormerForMaskedLMImpl::RoFormerForMaskedLMImpl(const RoFormerConfig& config)
    : RoFormerForMaskedLMImpl(config, DrawnParameters(config.initializer_range).scope()) {}

RoFormerForMaskedLMImpl::RoFormerForMaskedLMImpl(const RoFormerConfig& config, const Scope& scope) {
  roformer_ =
      register_module("roformer", std::make_shared<RoFormerModelImpl>(config, scope / "roformer"));
  head_ = register_module("cls",
                          child<MaskedLMHead>(scope, "cls", config, roformer_->word_embeddings()));
}

ModelOutput RoFormerForMaskedLMImpl::forward(const at::Tensor& input_ids,
                                             const OptionalTensor& attention_mask,
                                             const OptionalTensor& token_type_ids,
                                             const OptionalTensor& labels,
                                             const OptionalTensor& position_ids,
                                             std::optional<bool> unpad) {
  const OptionalTensor targets = given(labels);
  const Encoded encoded = roformer_->encode(input_ids, attention_mask, token_type_ids, position_ids,
                                            unpad, {.targets = targets, .first = false});
  ModelOutput output;
  output.last_hidden_state = encoded.padded(encoded.hidden);
  if (targets && is_training()) {
    const at::Tensor flat = encoded.laid_out(*targets).flatten();
    const at::Tensor labelled = flat.ne(kIgnored).nonzero().squeeze(1);
    const at::Tensor rows = encoded.hidden.flatten(0, 1).index_select(0, labelled);
    output.loss = class_loss(head_->forward(rows), flat.index_select(0, labelled));
    return output;
  }
  const at::Tensor logits = head_->forward(encoded.hidden);
  output.logits = encoded.padded(logits);
  if (targets) {
    output.loss = class_loss(logits.flatten(0, 1), encoded.laid_out(*targets).flatten());
  }
  return output;
}

at::Tensor RoFormerForMaskedLMImpl::logits_of(const at::Tensor& hidden) const {
  const std::int64_t width = config().hidden_size;
  TORCH_CHECK_VALUE(hidden.defined() && hidden.dim() > 0 && hidden.size(-1) == width,
                    "hidden must be [..., ", width, "], got ",
                    hidden.defined() ? c10::str(hidden.sizes()) : "no tensor");
  return head_->forward(hidden);
}

}  // namespace roformer_ext::nn
