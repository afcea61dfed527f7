// Word and type embeddings, the entrance of the encoder: positions are no part of them.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>

#include "nn/parts.h"

namespace roformer_ext::nn {

// Norm(word + type), with dropout.
class Embeddings : public torch::nn::Module {
 public:
  Embeddings(const Scope& scope, const RoFormerConfig& config);
  // [B, S] to [B, S, E]; tokens without a type are of type 0.
  at::Tensor forward(const at::Tensor& ids, const std::optional<at::Tensor>& types) const;
  const at::Tensor& words() const { return words_->weight; }

 private:
  double dropout_;
  std::shared_ptr<Embedding> words_, types_;
  std::shared_ptr<Norm> norm_;
};

}  // namespace roformer_ext::nn
