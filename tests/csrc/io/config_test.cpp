// config.json: what is read, what counts before what, and every refusal by field.
#include "io/config.h"

#include <string>
#include <utility>
#include <vector>

#include "catch.h"
#include "io/file_error.h"

namespace {

using roformer_ext::RoFormerConfig;
using roformer_ext::io::FileError;
using roformer_ext::io::parse_config;
using roformer_ext::testing::contains;

RoFormerConfig parse(const std::string& text) { return parse_config(text, "config.json"); }

TEST_CASE("an empty object is the default configuration", "[io]") {
  const auto config = parse("{}");
  CHECK(config.vocab_size == 50000);
  CHECK(config.embedding_width() == 768);
  CHECK(config.head_dim() == 64);
  CHECK(config.labels() == 2);
  CHECK(config.layer_norm_eps == 1e-12);
  CHECK(config.pad_token_id == 0);
  CHECK(config.norm_type == "layer_norm");
}

TEST_CASE("fields are read and unknown ones pass", "[io]") {
  const auto config = parse(R"({"model_type": "roformer_ext", "hidden_size": 8, "embedding_size": 4,
      "num_attention_heads": 2, "norm_type": "rms_norm", "use_bias": false, "pad_token_id": null,
      "id2label": {"0": "a", "1": "b", "2": "c"}, "problem_type": null, "unknown": [1, {}],
      "pooler_activation": "linear", "tie_word_embeddings": false, "hidden_dropout_prob": 0})");
  CHECK(config.embedding_width() == 4);
  CHECK(config.head_dim() == 4);
  CHECK(config.norm_type == "rms_norm");
  CHECK_FALSE(config.use_bias);
  CHECK_FALSE(config.pad_token_id);
  CHECK(config.labels() == 3);
  CHECK(config.problem_type.empty());
  CHECK(config.pooler_activation == "linear");
  CHECK_FALSE(config.tie_word_embeddings);
  CHECK(config.hidden_dropout_prob == 0.0);
}

TEST_CASE("what the file states counts before defaults", "[io]") {
  RoFormerConfig defaults;
  defaults.vocab_size = 7;
  defaults.embedding_size = 6;
  CHECK(parse_config("{}", "c", defaults).vocab_size == 7);
  CHECK(parse_config(R"({"vocab_size": 9})", "c", defaults).vocab_size == 9);
  CHECK(parse_config(R"({"embedding_size": null})", "c", defaults).embedding_width() == 768);
}

TEST_CASE("rotations as transformers 5 writes them", "[io]") {
  CHECK(parse(R"({"rope_theta": 500})").rope_theta == 500.0);
  const auto config = parse(R"({"rope_theta": 500, "rope_parameters":
      {"rope_type": "linear", "rope_theta": 100, "factor": 2}})");
  CHECK(config.rope_theta == 100.0);
  CHECK(config.rope_factor == 2.0);
  CHECK(parse(R"({"rope_parameters": {"factor": 2}})").rope_factor == 1.0);
  CHECK_THROWS_WITH(parse(R"({"rope_parameters": {"rope_type": "yarn"}})"), contains("rope_type"));
}

TEST_CASE("what no model could mean is refused by field", "[io]") {
  const std::vector<std::pair<std::string, std::string>> cases{
      {R"({"vocab_size": 0})", "vocab_size must be a positive integer, got 0"},
      {R"({"vocab_size": true})", "vocab_size must be a 64-bit integer"},
      {R"({"vocab_size": 5.0})", "vocab_size must be a 64-bit integer"},
      {R"({"vocab_size": 9223372036854775808})", "vocab_size must be a 64-bit integer"},
      {R"({"vocab_size": null})", "vocab_size must be a 64-bit integer"},
      {R"({"embedding_size": -1})", "embedding_size must be a positive integer, got -1"},
      {R"({"num_attention_heads": 7})", "num_attention_heads must divide hidden_size = 768, got 7"},
      {R"({"num_attention_heads": 256})", "must be even"},
      {R"({"hidden_dropout_prob": 1.5})", "hidden_dropout_prob must be between 0 and 1"},
      {R"({"hidden_dropout_prob": "0"})", "hidden_dropout_prob must be a number"},
      {R"({"pad_token_id": 50000})", "pad_token_id must be null or below vocab_size = 50000"},
      {R"({"norm_type": "batch"})", "norm_type must be one of 'layer_norm', 'rms_norm'"},
      {R"({"norm_type": 3})", "norm_type must be a word"},
      {R"({"use_bias": 1})", "use_bias must be true or false"},
      {R"({"problem_type": "guess"})", "problem_type must be one of"},
      {R"({"attention": "none"})", "attention must be one of"},
      {R"({"rope_theta": 0})", "rope_theta must be positive"},
      {R"({"rope_parameters": 3})", "rope_parameters must be an object or null"},
      {R"({"model_type": "bert"})", "model_type must be 'roformer' or 'roformer_ext', got 'bert'"},
      {R"({"num_labels": 3, "id2label": {"0": "a"}})", "num_labels must be the length of id2label"},
      {R"({"num_labels": 0})", "num_labels must be a positive integer"},
      {R"({"hidden_size": 1, "hidden_size": 1})", "'hidden_size' twice"},
      {"[]", "must be a JSON object, got array"},
      {"{\"a\": }", "error at byte 6"},
      {R"({"a": 1e999})", "a number that no float64 holds"},
      {std::string("{}\0", 3), "a zero at byte 2"},
      {R"({"a": )" + std::string(100'000, '['), "nest at most 32 deep"},
  };
  for (const auto& [text, message] : cases) {
    INFO(text.substr(0, 80));
    CHECK_THROWS_WITH(parse(text), contains("config.json") && contains(message));
    CHECK_THROWS_AS(parse(text), FileError);
  }
}

}  // namespace
