// `RoFormerConfig`: every number and switch that decides what a RoFormer computes.
//
// The fields and defaults are those of the Python class of this name, and of transformers'
// config.json; those that no C++ model reads (summaries, caches, bookkeeping) are left out. What
// must stay true: `check` refuses whatever no model could mean, before memory is taken for it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "roformer_ext/export.h"

namespace roformer_ext {

struct ROFORMER_EXT_API RoFormerConfig {
  std::int64_t vocab_size = 50000;
  std::optional<std::int64_t> embedding_size;  // nothing: hidden_size
  std::int64_t hidden_size = 768;
  std::int64_t num_hidden_layers = 12;
  std::int64_t num_attention_heads = 12;
  std::int64_t intermediate_size = 3072;
  std::string hidden_act = "gelu";
  double hidden_dropout_prob = 0.1;
  double attention_probs_dropout_prob = 0.1;
  std::int64_t max_position_embeddings = 1536;  // no limit on the length of an input
  std::int64_t type_vocab_size = 2;
  double initializer_range = 0.02;
  double layer_norm_eps = 1e-12;
  std::optional<std::int64_t> pad_token_id = 0;
  bool rotary_value = false;  // rotate the values as well as the queries and keys
  bool is_decoder = false;    // attend to earlier tokens only
  bool add_cross_attention = false;
  bool tie_word_embeddings = true;
  std::optional<std::int64_t> num_labels;  // nothing: 2
  std::string problem_type;                // empty: by num_labels and the labels
  std::string norm_type = "layer_norm";    // or "rms_norm", without gain
  bool use_bias = true;
  double rope_theta = 10000.0;  // base of the angles pos * base^(-2i/D), i from 0 (Eq. 15)
  double rope_factor = 1.0;     // positions are divided by it
  bool prefix_lm = false;
  std::string pooler_activation;  // there is a pooler where this is set
  std::string attention = "softmax";

  // Width D of one attention head.
  std::int64_t head_dim() const { return hidden_size / num_attention_heads; }
  // Width E of the embeddings.
  std::int64_t embedding_width() const { return embedding_size.value_or(hidden_size); }
  // Classes of a classification head.
  std::int64_t labels() const { return num_labels.value_or(2); }

  // std::invalid_argument, one sentence that names the field: heads that do not divide the hidden
  // size, an odd head width (Eq. 14 rotates pairs), an unknown word, a number out of range.
  void check() const;
};

}  // namespace roformer_ext
