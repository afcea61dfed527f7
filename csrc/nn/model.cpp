// `RoFormerModel`: it reads as the network runs, embeddings, projection, layers, pooler.
#include <ATen/ops/arange.h>
#include <c10/util/Exception.h>
#include <roformer_ext/encoder.h>

#include <stdexcept>

#include "nn/activation.h"
#include "nn/embeddings.h"
#include "nn/encoded.h"
#include "nn/layer.h"
#include "nn/mask.h"
#include "nn/rotation.h"

namespace roformer_ext::nn {
namespace {

// Refuses what would otherwise be computed as if the field had its default.
RoFormerConfig checked(RoFormerConfig config) {
  config.check();
  if (config.attention != "softmax") {
    throw std::invalid_argument("attention must be 'softmax' in this version, got 'linear'");
  }
  if (config.add_cross_attention) {
    throw std::invalid_argument("add_cross_attention must be false for a C++ model, got true");
  }
  if (config.prefix_lm && config.is_decoder) {
    throw std::invalid_argument("prefix_lm must not come with is_decoder, got both");
  }
  return config;
}

bool is_integer(const at::Tensor& x) {
  return x.scalar_type() == at::kLong || x.scalar_type() == at::kInt;
}

void check_ids(const char* name, const OptionalTensor& ids, std::int64_t batch, std::int64_t seq) {
  if (!ids) return;
  const bool fits = ids->sizes() == at::IntArrayRef({seq}) ||
                    ids->sizes() == at::IntArrayRef({1, seq}) ||
                    ids->sizes() == at::IntArrayRef({batch, seq});
  TORCH_CHECK_VALUE(fits && is_integer(*ids), name, " must be integers [S] = [", seq,
                    "] or [B, S] = [", batch, ", ", seq, "], got ", ids->scalar_type(), " ",
                    ids->sizes());
}

}  // namespace

RoFormerModelImpl::RoFormerModelImpl(const RoFormerConfig& config, const Scope& scope)
    : config_(checked(config)) {
  const std::int64_t inner = config.embedding_width(), width = config.hidden_size;
  embeddings_ = register_module("embeddings", child<Embeddings>(scope, "embeddings", config));
  if (inner != width) {
    // Published V2 files have this one bias, whatever `use_bias` says.
    const bool bias = config.use_bias || scope.has("embeddings_project.bias");
    embeddings_project_ = register_module(
        "embeddings_project", child<Linear>(scope, "embeddings_project", inner, width, bias));
  }
  layers_ = register_module("encoder", child<Layers>(scope, "encoder", config));
  if (!config.pooler_activation.empty()) {
    activation(config.pooler_activation);
    const auto pooler = register_module("pooler", std::make_shared<Group>());
    pooler_ = pooler->add("dense",
                          child<Linear>(scope / "pooler", "dense", width, width, config.use_bias));
  }
}

ModelOutput RoFormerModelImpl::forward(const at::Tensor& input_ids,
                                       const OptionalTensor& attention_mask,
                                       const OptionalTensor& token_type_ids,
                                       const OptionalTensor& position_ids,
                                       std::optional<bool> unpad) {
  const Encoded encoded = encode(input_ids, attention_mask, token_type_ids, position_ids, unpad,
                                 {.targets = {}, .first = pooler_ != nullptr});
  ModelOutput output;
  output.last_hidden_state = encoded.padded(encoded.hidden);
  if (pooler_) {
    output.pooler_output = activation(config_.pooler_activation)(pooler_->forward(encoded.first()));
  }
  return output;
}

Encoded RoFormerModelImpl::encode(const at::Tensor& input_ids, const OptionalTensor& attention_mask,
                                  const OptionalTensor& token_type_ids,
                                  const OptionalTensor& position_ids, std::optional<bool> unpad,
                                  const Reads& reads) const {
  TORCH_CHECK_VALUE(input_ids.defined() && input_ids.dim() == 2 && is_integer(input_ids),
                    "input_ids must be integers [B, S], got ",
                    input_ids.defined() ? c10::str(input_ids.scalar_type(), " ", input_ids.sizes())
                                        : "no tensor");
  const OptionalTensor mask = given(attention_mask), types = given(token_type_ids),
                       positions = given(position_ids);
  const std::int64_t batch = input_ids.size(0), seq = input_ids.size(1);
  check_ids("token_type_ids", types, batch, seq);
  check_ids("position_ids", positions, batch, seq);
  TORCH_CHECK_VALUE(!reads.targets || reads.targets->sizes() == input_ids.sizes(),
                    "labels must be [B, S] = ", input_ids.sizes(), ", got ",
                    reads.targets->sizes());

  Encoded encoded{.hidden = {}, .packing = drop_padding(mask, {batch, seq}, unpad, reads)};
  at::Tensor hidden = embeddings_->forward(encoded.laid_out(input_ids), encoded.laid_out(types));
  if (embeddings_project_) hidden = embeddings_project_->forward(hidden);
  const OptionalTensor stages = encoded.laid_out(prefix_stages(config_, {batch, seq}, types));
  const AttentionMask visible = encoded.packing
                                    ? packed_mask(config_, hidden, encoded.packing->lengths, stages)
                                    : prepare_mask(config_, hidden, mask, stages);
  Rotation rotation = rotation_of(config_, seq, positions, hidden.device());
  if (encoded.packing) {
    const at::Tensor row = at::arange(seq, input_ids.options());
    rotation.ids = encoded.laid_out(rotation.ids.value_or(row));
  }
  encoded.hidden = layers_->forward(hidden, visible, rotation);
  return encoded;
}

const at::Tensor& RoFormerModelImpl::word_embeddings() const { return embeddings_->words(); }

RoFormerModelImpl::RoFormerModelImpl(const RoFormerConfig& config)
    : RoFormerModelImpl(config, DrawnParameters(config.initializer_range).scope()) {}

}  // namespace roformer_ext::nn
