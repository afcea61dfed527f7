// A checkpoint directory: one file or shards, what the tensors say of the configuration, and where
// the two contradict each other.
#include "io/checkpoint.h"

#include <map>
#include <string>
#include <vector>

#include "catch.h"
#include "io/file_error.h"
#include "samples.h"

namespace {

using namespace roformer_ext::io;           // NOLINT(google-build-using-namespace)
using namespace roformer_ext::io::testing;  // NOLINT(google-build-using-namespace)
using roformer_ext::testing::contains;

using Shapes = std::map<std::string, std::vector<int>>;

// Bytes by name, U8 because only shapes count here.
std::string file_with(const Shapes& shapes) {
  std::string header;
  int end = 0;
  for (const auto& [name, shape] : shapes) {
    std::string text;
    int bytes = 1;
    for (const int size : shape) {
      text += (text.empty() ? "" : ",") + std::to_string(size);
      bytes *= size;
    }
    header += (header.empty() ? "{" : ",") +
              entry(name, "U8", "[" + text + "]",
                    "[" + std::to_string(end) + "," + std::to_string(end + bytes) + "]");
    end += bytes;
  }
  return file_of(header + "}", static_cast<std::size_t>(end));
}

const Shapes kModel{
    {"roformer.embeddings.word_embeddings.weight", {9, 4}},
    {"roformer.embeddings.token_type_embeddings.weight", {2, 4}},
    {"roformer.embeddings.LayerNorm.weight", {4}},
    {"roformer.encoder.embed_positions.weight", {6, 2}},
    {"roformer.encoder.layer.0.attention.output.dense.weight", {8, 8}},
    {"roformer.encoder.layer.0.intermediate.dense.weight", {3, 8}},
    {"roformer.encoder.layer.1.output.dense.bias", {8}},
    {"roformer.pooler.dense.weight", {8, 8}},
    {"cls.predictions.bias", {9}},
};

TEST_CASE("shapes and names fill in what config.json leaves out", "[io]") {
  const Folder folder;
  folder.write("model.safetensors", file_with(kModel));
  folder.write("config.json", "{}");
  const Checkpoint checkpoint = read_checkpoint(folder.path());
  const auto& config = checkpoint.config;
  CHECK(config.vocab_size == 9);
  CHECK(config.embedding_width() == 4);
  CHECK(config.hidden_size == 8);
  CHECK(config.intermediate_size == 3);
  CHECK(config.num_hidden_layers == 2);
  CHECK(config.num_attention_heads == 4);
  CHECK(config.max_position_embeddings == 6);
  CHECK(config.norm_type == "layer_norm");
  CHECK(config.use_bias);
  CHECK(checkpoint.body.size() == 7);
  CHECK(checkpoint.head.size() == 1);
  CHECK(checkpoint.unused == std::vector<std::string>{"pooler.dense.weight"});
}

TEST_CASE("the names of V2 and of a bare model", "[io]") {
  const Folder folder;
  Shapes shapes;
  for (const auto& [name, shape] : kModel) {
    if (name.starts_with(kBody) && !name.ends_with("bias") && name.find("Norm") == name.npos) {
      shapes.emplace(name.substr(kBody.size()), shape);
    }
  }
  folder.write("model.safetensors", file_with(shapes));
  folder.write("config.json", R"({"pooler_activation": "linear"})");
  const Checkpoint checkpoint = read_checkpoint(folder.path());
  CHECK(checkpoint.config.norm_type == "rms_norm");
  CHECK(checkpoint.config.hidden_act == "relu");
  CHECK_FALSE(checkpoint.config.use_bias);
  CHECK(checkpoint.config.num_hidden_layers == 1);
  CHECK(checkpoint.body.contains("pooler.dense.weight"));
  CHECK(checkpoint.head.empty());
}

TEST_CASE("tied words may be stored under the name of the decoder", "[io]") {
  const Folder folder;
  Shapes shapes = kModel;
  auto words = shapes.extract("roformer.embeddings.word_embeddings.weight");
  words.key() = "cls.predictions.decoder.weight";
  shapes.insert(std::move(words));
  folder.write("model.safetensors", file_with(shapes));
  folder.write("config.json", "{}");
  const Checkpoint checkpoint = read_checkpoint(folder.path());
  CHECK(checkpoint.config.vocab_size == 9);
  CHECK(checkpoint.body.contains(kWords));
}

TEST_CASE("a configuration that contradicts the tensors is refused by field", "[io]") {
  const Folder folder;
  folder.write("model.safetensors", file_with(kModel));
  for (const std::string field : {"vocab_size", "embedding_size", "type_vocab_size",
                                  "intermediate_size", "num_hidden_layers"}) {
    folder.write("config.json", "{\"" + field + "\": 5}");
    CHECK_THROWS_WITH(read_checkpoint(folder.path()), contains(field + " must be"));
  }
  folder.write("config.json", R"({"hidden_size": 16})");
  CHECK_THROWS_WITH(read_checkpoint(folder.path()), contains("hidden_size must be 8"));
  folder.write("model.safetensors", file_with({{"w", {1}}}));
  folder.write("config.json", R"({"num_hidden_layers": 1000000000000})");
  CHECK_THROWS_WITH(read_checkpoint(folder.path()), contains("layers of an encoder"));
  Shapes shapes = kModel;
  shapes["roformer.encoder.layer.999999999999.output.dense.bias"] = {8};
  folder.write("model.safetensors", file_with(shapes));
  folder.write("config.json", "{}");
  CHECK(read_checkpoint(folder.path()).config.num_hidden_layers == 9);
}

TEST_CASE("shards hold what their index says", "[io]") {
  const Folder folder;
  const std::string index = "model.safetensors.index.json";
  CHECK_THROWS_WITH(read_tensors(folder.path()), contains("directory must hold"));
  folder.write("one.safetensors", file_with({{"a", {2}}}));
  folder.write("two.safetensors", file_with({{"b", {3}}, {"c", {1}}}));
  const auto places = [](const std::string& text) { return "{\"weight_map\": {" + text + "}}"; };
  const std::string ab = R"("a": "one.safetensors", "b": "two.safetensors")";
  folder.write(index, places(ab + R"(, "c": "two.safetensors")"));
  const TensorFiles files = read_tensors(folder.path());
  CHECK(files.tensors.size() == 3);
  CHECK(files.mapped.size() == 2);
  CHECK(files.tensors.at("b").bytes.size() == 3);

  folder.write(index, places(ab));
  CHECK_THROWS_WITH(read_tensors(folder.path()), contains("two.safetensors must hold what its"));
  folder.write(index, places(ab + R"(, "c": "one.safetensors")"));
  CHECK_THROWS_AS(read_tensors(folder.path()), FileError);
  folder.write(index, places(ab + R"(, "c": "two.safetensors", "d": "one.safetensors")"));
  CHECK_THROWS_WITH(read_tensors(folder.path()), contains("must hold 'd'"));
  folder.write(index, places(R"("a": "none.safetensors")"));
  CHECK_THROWS_WITH(read_tensors(folder.path()), contains("No such file"));
  for (const std::string shard :
       {"\"../one.safetensors\"", "\"a.bin\"", "3", "\"c:x.safetensors\""}) {
    folder.write(index, places("\"a\": " + shard));
    CHECK_THROWS_WITH(read_tensors(folder.path()), contains("'a' the name of a .safetensors"));
  }
  folder.write(index, "{}");
  CHECK_THROWS_WITH(read_tensors(folder.path()), contains("weight_map"));
}

TEST_CASE("a directory without config.json is refused", "[io]") {
  const Folder folder;
  folder.write("model.safetensors", file_with(kModel));
  CHECK_THROWS_WITH(read_checkpoint(folder.path()), contains("config.json"));
}

}  // namespace
