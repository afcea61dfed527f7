// Field by field, so that a misspelt type is refused by the name of its field.
#include "io/config.h"

#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <utility>

#include "io/file_error.h"
#include "io/json.h"

namespace roformer_ext::io {
namespace {

// Reads fields by name; one that is absent leaves its default.
class Fields {
 public:
  Fields(nlohmann::json object, const std::string& path)
      : object_(std::move(object)), path_(path) {}

  void read(const char* name, bool& field) const {
    if (const auto* value = find(name)) {
      if (!value->is_boolean()) refuse(name, "true or false", *value);
      field = value->get<bool>();
    }
  }

  void read(const char* name, std::int64_t& field) const {
    if (const auto* value = find(name)) field = integer(name, *value);
  }

  void read(const char* name, double& field) const {
    if (const auto* value = find(name)) {
      if (!value->is_number()) refuse(name, "a number", *value);
      field = value->get<double>();
    }
  }

  void read(const char* name, std::string& field) const {
    if (const auto* value = find(name)) {
      if (!value->is_string()) refuse(name, "a word", *value);
      field = value->get<std::string>();
    }
  }

  // null is nothing.
  void read(const char* name, std::optional<std::int64_t>& field) const {
    if (const auto* value = find(name)) {
      field.reset();
      if (!value->is_null()) field = integer(name, *value);
    }
  }

  // null is the empty word.
  void read_optional(const char* name, std::string& field) const {
    const auto* value = find(name);
    if (value != nullptr && value->is_null()) {
      field.clear();
    } else {
      read(name, field);
    }
  }

  // The object under `name`, none where there is null or nothing.
  std::optional<Fields> object(const char* name) const {
    const auto* value = find(name);
    if (value == nullptr || value->is_null()) return {};
    if (!value->is_object()) refuse(name, "an object or null", *value);
    return Fields(*value, path_);
  }

  std::size_t size() const { return object_.size(); }

 private:
  const nlohmann::json* find(const char* name) const {
    const auto found = object_.find(name);
    return found == object_.end() ? nullptr : &*found;
  }

  std::int64_t integer(const char* name, const nlohmann::json& value) const {
    constexpr auto kLargest = std::numeric_limits<std::int64_t>::max();
    const bool large = value.is_number_unsigned() &&
                       value.get<std::uint64_t>() > static_cast<std::uint64_t>(kLargest);
    if (!value.is_number_integer() || large) refuse(name, "a 64-bit integer", value);
    return value.get<std::int64_t>();
  }

  [[noreturn]] void refuse(const char* name, const char* wanted,
                           const nlohmann::json& value) const {
    throw FileError(path_ + ": " + name + " must be " + wanted + ", got " +
                    (value.is_primitive() ? in_quotes(value.dump()) : value.type_name()));
  }

  nlohmann::json object_;
  const std::string& path_;
};

void read_rotation(const Fields& fields, RoFormerConfig& config) {
  fields.read("rope_theta", config.rope_theta);
  const auto parameters = fields.object("rope_parameters");
  if (!parameters) return;
  std::string type = "default";
  parameters->read("rope_type", type);
  if (type != "default" && type != "linear") {
    throw std::invalid_argument("rope_type must be one of 'default', 'linear', got " +
                                in_quotes(type));
  }
  parameters->read("rope_theta", config.rope_theta);
  config.rope_factor = 1.0;
  if (type == "linear") parameters->read("factor", config.rope_factor);
}

void read_labels(const Fields& fields, RoFormerConfig& config) {
  fields.read("num_labels", config.num_labels);
  const auto names = fields.object("id2label");
  if (!names) return;
  const auto count = static_cast<std::int64_t>(names->size());
  if (config.num_labels.value_or(count) != count) {
    throw std::invalid_argument("num_labels must be the length of id2label, " +
                                std::to_string(count) + ", got " +
                                std::to_string(*config.num_labels));
  }
  config.num_labels = count;
}

void read_fields(const Fields& fields, RoFormerConfig& config) {
  std::string model_type = "roformer";
  fields.read("model_type", model_type);
  if (model_type != "roformer" && model_type != "roformer_ext") {
    throw std::invalid_argument("model_type must be 'roformer' or 'roformer_ext', got " +
                                in_quotes(model_type));
  }
  fields.read("vocab_size", config.vocab_size);
  fields.read("embedding_size", config.embedding_size);
  fields.read("hidden_size", config.hidden_size);
  fields.read("num_hidden_layers", config.num_hidden_layers);
  fields.read("num_attention_heads", config.num_attention_heads);
  fields.read("intermediate_size", config.intermediate_size);
  fields.read("hidden_act", config.hidden_act);
  fields.read("hidden_dropout_prob", config.hidden_dropout_prob);
  fields.read("attention_probs_dropout_prob", config.attention_probs_dropout_prob);
  fields.read("max_position_embeddings", config.max_position_embeddings);
  fields.read("type_vocab_size", config.type_vocab_size);
  fields.read("initializer_range", config.initializer_range);
  fields.read("layer_norm_eps", config.layer_norm_eps);
  fields.read("pad_token_id", config.pad_token_id);
  fields.read("rotary_value", config.rotary_value);
  fields.read("is_decoder", config.is_decoder);
  fields.read("add_cross_attention", config.add_cross_attention);
  fields.read("tie_word_embeddings", config.tie_word_embeddings);
  fields.read_optional("problem_type", config.problem_type);
  fields.read("norm_type", config.norm_type);
  fields.read("use_bias", config.use_bias);
  fields.read("prefix_lm", config.prefix_lm);
  fields.read_optional("pooler_activation", config.pooler_activation);
  fields.read("attention", config.attention);
}

}  // namespace

RoFormerConfig parse_config(std::string_view text, const std::string& path,
                            RoFormerConfig defaults) {
  const Fields fields(parse_object(text, path), path);
  RoFormerConfig config = std::move(defaults);
  try {
    read_fields(fields, config);
    read_rotation(fields, config);
    read_labels(fields, config);
    config.check();
  } catch (const std::invalid_argument& error) {
    throw FileError(path + ": " + error.what());
  }
  return config;
}

}  // namespace roformer_ext::io
