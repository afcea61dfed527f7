// What no RoFormer could mean, refused field by field.
#include <roformer_ext/config.h>

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <stdexcept>
#include <string_view>
#include <utility>

#include "io/file_error.h"

namespace roformer_ext {
namespace {

[[noreturn]] void refuse(const std::string& what, const std::string& got) {
  throw std::invalid_argument(what + ", got " + got);
}

void check_positive(const char* name, std::int64_t value) {
  if (value < 1) refuse(std::string(name) + " must be a positive integer", std::to_string(value));
}

void check_probability(const char* name, double value) {
  // Not a number fails both.
  if (value >= 0.0 && value <= 1.0) return;
  refuse(std::string(name) + " must be between 0 and 1", std::to_string(value));
}

void check_above_zero(const char* name, double value) {
  if (value > 0.0 && std::isfinite(value)) return;
  refuse(std::string(name) + " must be positive", std::to_string(value));
}

void check_word(const char* name, const std::string& value,
                std::initializer_list<std::string_view> allowed) {
  if (std::ranges::find(allowed, value) != allowed.end()) return;
  std::string names;
  for (const auto each : allowed) {
    names += (names.empty() ? "'" : ", '") + std::string(each) + "'";
  }
  refuse(std::string(name) + " must be one of " + names, io::in_quotes(value));
}

}  // namespace

void RoFormerConfig::check() const {
  check_positive("vocab_size", vocab_size);
  check_positive("embedding_size", embedding_width());
  check_positive("hidden_size", hidden_size);
  check_positive("num_hidden_layers", num_hidden_layers);
  check_positive("num_attention_heads", num_attention_heads);
  check_positive("intermediate_size", intermediate_size);
  check_positive("max_position_embeddings", max_position_embeddings);
  check_positive("type_vocab_size", type_vocab_size);
  check_positive("num_labels", labels());
  check_probability("hidden_dropout_prob", hidden_dropout_prob);
  check_probability("attention_probs_dropout_prob", attention_probs_dropout_prob);
  check_above_zero("rope_theta", rope_theta);
  check_above_zero("factor", rope_factor);
  const std::string heads = std::to_string(num_attention_heads);
  if (hidden_size % num_attention_heads != 0) {
    refuse("num_attention_heads must divide hidden_size = " + std::to_string(hidden_size), heads);
  }
  if (head_dim() % 2 != 0) {
    refuse("hidden_size / num_attention_heads must be even, because channels rotate in pairs",
           std::to_string(hidden_size) + " / " + heads + " = " + std::to_string(head_dim()));
  }
  if (pad_token_id && (*pad_token_id < 0 || *pad_token_id >= vocab_size)) {
    refuse("pad_token_id must be null or below vocab_size = " + std::to_string(vocab_size),
           std::to_string(*pad_token_id));
  }
  check_word("norm_type", norm_type, {"layer_norm", "rms_norm"});
  check_word("attention", attention, {"softmax", "linear"});
  check_word("problem_type", problem_type,
             {"", "regression", "single_label_classification", "multi_label_classification"});
}

}  // namespace roformer_ext
