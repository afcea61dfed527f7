// The layers as roformer_ext/layer.py has them, cross-attention left out.
#include "nn/layer.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/dropout.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <vector>

namespace roformer_ext::nn {
namespace {

// Blocks of 32 MiB and more come from the system as fresh pages at each use, which takes as long as
// a tenth of the products, and smaller ones stay in the cache until they are read.
constexpr std::int64_t kWidenedBytes = 16 << 20;

// So many pieces of [B, S, C] that the widened activations of one fit into kWidenedBytes.
std::int64_t number_of_pieces(const at::Tensor& hidden, std::int64_t widened) {
  if (c10::GradMode::is_enabled() || !hidden.is_cpu()) return 1;
  const std::int64_t tokens = hidden.size(0) * hidden.size(1);
  const std::int64_t bytes = tokens * widened * hidden.element_size();
  return std::max<std::int64_t>(1, (bytes + kWidenedBytes - 1) / kWidenedBytes);
}

}  // namespace

Residual::Residual(const Scope& scope, std::int64_t width, const RoFormerConfig& config)
    : dropout_(config.hidden_dropout_prob) {
  dense_ = register_module(
      "dense", child<Linear>(scope, "dense", width, config.hidden_size, config.use_bias));
  norm_ = register_module("LayerNorm", child<Norm>(scope, "LayerNorm", config.hidden_size, config));
}

at::Tensor Residual::forward(const at::Tensor& x, const at::Tensor& residual) const {
  return norm_->forward(at::dropout(dense_->forward(x), dropout_, is_training()) + residual);
}

Layer::Layer(const Scope& scope, const RoFormerConfig& config)
    : widened_(config.intermediate_size), activation_(activation(config.hidden_act)) {
  const auto attention = register_module("attention", std::make_shared<Group>());
  const Scope inner = scope / "attention";
  attention_ = attention->add("self", child<SelfAttention>(inner, "self", config));
  attention_output_ =
      attention->add("output", child<Residual>(inner, "output", config.hidden_size, config));
  const auto intermediate = register_module("intermediate", std::make_shared<Group>());
  widen_ =
      intermediate->add("dense", child<Linear>(scope / "intermediate", "dense", config.hidden_size,
                                               config.intermediate_size, config.use_bias));
  output_ =
      register_module("output", child<Residual>(scope, "output", config.intermediate_size, config));
}

at::Tensor Layer::forward(const at::Tensor& hidden, const AttentionMask& mask,
                          const Rotation& rotation) const {
  const at::Tensor attended =
      attention_output_->forward(attention_->forward(hidden, mask, rotation), hidden);
  const std::int64_t pieces = number_of_pieces(attended, widened_);
  if (pieces == 1) return feed_forward(attended);
  std::vector<at::Tensor> done;
  for (const at::Tensor& piece : attended.flatten(0, 1).chunk(pieces)) {
    done.push_back(feed_forward(piece));
  }
  return at::cat(done).view_as(attended);
}

at::Tensor Layer::feed_forward(const at::Tensor& x) const {
  return output_->forward(activation_(widen_->forward(x)), x);
}

Layers::Layers(const Scope& scope, const RoFormerConfig& config) {
  const auto list = register_module("layer", std::make_shared<Group>());
  for (std::int64_t index = 0; index < config.num_hidden_layers; ++index) {
    const std::string name = std::to_string(index);
    layers_.push_back(list->add(name, child<Layer>(scope / "layer", name, config)));
  }
}

at::Tensor Layers::forward(at::Tensor hidden, const AttentionMask& mask,
                           const Rotation& rotation) const {
  for (const auto& layer : layers_) hidden = layer->forward(hidden, mask, rotation);
  return hidden;
}

}  // namespace roformer_ext::nn
