// The sum of both, normalised.
#include "nn/embeddings.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/dropout.h>

namespace roformer_ext::nn {

Embeddings::Embeddings(const Scope& scope, const RoFormerConfig& config)
    : dropout_(config.hidden_dropout_prob) {
  const std::int64_t width = config.embedding_width();
  words_ = register_module(
      "word_embeddings",
      child<Embedding>(scope, "word_embeddings", config.vocab_size, width, config.pad_token_id));
  types_ = register_module("token_type_embeddings",
                           child<Embedding>(scope, "token_type_embeddings", config.type_vocab_size,
                                            width, std::optional<std::int64_t>{}));
  norm_ = register_module("LayerNorm", child<Norm>(scope, "LayerNorm", width, config));
}

at::Tensor Embeddings::forward(const at::Tensor& ids,
                               const std::optional<at::Tensor>& types) const {
  const at::Tensor term = types ? types_->forward(*types) : types_->weight.select(0, 0);
  return at::dropout(norm_->forward(words_->forward(ids) + term), dropout_, is_training());
}

}  // namespace roformer_ext::nn
