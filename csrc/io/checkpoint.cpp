// Sizes and kinds are read off names and shapes alone; no byte of a tensor is looked at.
#include "io/checkpoint.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <utility>

#include "io/config.h"
#include "io/file_error.h"

namespace roformer_ext::io {
namespace {

constexpr std::string_view kLayer = "encoder.layer.";

// The index of the layer that a tensor belongs to.
std::optional<std::int64_t> layer_of(std::string_view name) {
  if (!name.starts_with(kLayer)) return {};
  name.remove_prefix(kLayer.size());
  std::int64_t index = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), index);
  const bool found =
      error == std::errc{} && index >= 0 && name.substr(end - name.data()).starts_with('.');
  return found ? std::optional(index) : std::nullopt;
}

// Size `dimension` of a matrix, where the file has it.
std::optional<std::int64_t> size_of(const TensorViews& body, std::string_view name,
                                    std::size_t dimension) {
  const auto found = body.find(name);
  if (found == body.end() || found->second.shape.size() != 2) return {};
  return found->second.shape[dimension];
}

struct Sizes {
  std::optional<std::int64_t> vocab_size, embedding_size, type_vocab_size, hidden_size,
      intermediate_size, num_hidden_layers;
};

Sizes sizes_of(const TensorViews& body) {
  Sizes sizes{
      .vocab_size = size_of(body, kWords, 0),
      .embedding_size = size_of(body, kWords, 1),
      .type_vocab_size = size_of(body, "embeddings.token_type_embeddings.weight", 0),
      .hidden_size = size_of(body, "encoder.layer.0.attention.output.dense.weight", 0),
      .intermediate_size = size_of(body, "encoder.layer.0.intermediate.dense.weight", 0),
      .num_hidden_layers = {},
  };
  for (const auto& [name, view] : body) {
    if (const auto index = layer_of(name)) {
      // Never more than there are tensors, whatever number a name has.
      const auto most = static_cast<std::int64_t>(body.size());
      const std::int64_t layers = std::min(*index, most - 1) + 1;
      sizes.num_hidden_layers = std::max(sizes.num_hidden_layers.value_or(0), layers);
    }
  }
  return sizes;
}

// What names and shapes show, for a configuration that does not state it.
RoFormerConfig defaults_of(const TensorViews& body, const Sizes& sizes) {
  RoFormerConfig config;
  config.vocab_size = sizes.vocab_size.value_or(config.vocab_size);
  config.embedding_size = sizes.embedding_size;
  config.type_vocab_size = sizes.type_vocab_size.value_or(config.type_vocab_size);
  config.hidden_size = sizes.hidden_size.value_or(config.hidden_size);
  config.intermediate_size = sizes.intermediate_size.value_or(config.intermediate_size);
  config.num_hidden_layers = sizes.num_hidden_layers.value_or(config.num_hidden_layers);
  const auto some = [&](auto holds) {
    return std::ranges::any_of(body, [&](const auto& entry) { return holds(entry.first); });
  };
  const bool norms = some([](const auto& name) { return name.find("LayerNorm") != name.npos; });
  config.use_bias =
      some([](const auto& name) { return layer_of(name) && name.ends_with(".bias"); });
  config.norm_type = norms ? "layer_norm" : "rms_norm";
  if (!norms && !config.use_bias) config.hidden_act = "relu";  // V2
  const auto rows = size_of(body, kPositionTable, 0);
  const auto width = size_of(body, kPositionTable, 1);
  if (rows.value_or(0) > 0 && width.value_or(0) > 0 && sizes.hidden_size) {
    config.num_attention_heads = std::max<std::int64_t>(1, *sizes.hidden_size / *width);
    config.max_position_embeddings = *rows;
  }
  return config;
}

void check_size(const char* field, std::int64_t stated, std::optional<std::int64_t> found,
                const std::string& path) {
  if (!found || *found == stated) return;
  throw FileError(std::string(field) + " must be " + std::to_string(*found) +
                  ", as the tensors of " + path + " are, got " + std::to_string(stated));
}

RoFormerConfig configuration(const std::string& directory, const Checkpoint& checkpoint) {
  const std::string path = (std::filesystem::path(directory) / "config.json").string();
  const MappedFile file(path);
  const Sizes sizes = sizes_of(checkpoint.body);
  if (!sizes.num_hidden_layers) {
    throw FileError(checkpoint.path + " must hold the layers of an encoder, got none");
  }
  auto config = parse_config(file.text(), path, defaults_of(checkpoint.body, sizes));
  const std::string& tensors = checkpoint.path;
  check_size("vocab_size", config.vocab_size, sizes.vocab_size, tensors);
  check_size("embedding_size", config.embedding_width(), sizes.embedding_size, tensors);
  check_size("type_vocab_size", config.type_vocab_size, sizes.type_vocab_size, tensors);
  check_size("hidden_size", config.hidden_size, sizes.hidden_size, tensors);
  check_size("intermediate_size", config.intermediate_size, sizes.intermediate_size, tensors);
  check_size("num_hidden_layers", config.num_hidden_layers, sizes.num_hidden_layers, tensors);
  return config;
}

// Puts each tensor in its part. Without any under `kBody` the file is that of a bare model.
void sort_parts(TensorViews tensors, Checkpoint& checkpoint) {
  const bool bare = std::ranges::none_of(
      tensors, [](const auto& entry) { return entry.first.starts_with(kBody); });
  for (auto& [name, view] : tensors) {
    if (bare) {
      checkpoint.body.emplace(name, std::move(view));
    } else if (name.starts_with(kBody)) {
      checkpoint.body.emplace(name.substr(kBody.size()), std::move(view));
    } else {
      checkpoint.head.emplace(name, std::move(view));
    }
  }
  const auto decoder = checkpoint.head.find(kDecoder);
  if (decoder != checkpoint.head.end()) {
    // Tied, and perhaps stored under its other name alone.
    checkpoint.body.try_emplace(std::string(kWords), decoder->second);
  }
}

void drop_unused(Checkpoint& checkpoint) {
  const RoFormerConfig& config = checkpoint.config;
  const bool projected = config.embedding_width() != config.hidden_size;
  const bool pooled = !config.pooler_activation.empty();
  std::erase_if(checkpoint.body, [&](const auto& entry) {
    const std::string& name = entry.first;
    const bool unused = (!projected && name.starts_with("embeddings_project.")) ||
                        (!pooled && name.starts_with("pooler."));
    if (unused) checkpoint.unused.push_back(name);
    return unused;
  });
}

}  // namespace

Checkpoint read_checkpoint(const std::string& directory) {
  TensorFiles files = read_tensors(directory);
  Checkpoint checkpoint;
  checkpoint.path = std::move(files.path);
  checkpoint.mapped = std::move(files.mapped);
  sort_parts(std::move(files.tensors), checkpoint);
  checkpoint.config = configuration(directory, checkpoint);
  drop_unused(checkpoint);
  return checkpoint;
}

}  // namespace roformer_ext::io
