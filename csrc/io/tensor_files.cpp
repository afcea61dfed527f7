// One file, or the shards of an index in the order of their names.
#include "io/tensor_files.h"

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>
#include <utility>

#include "io/file_error.h"
#include "io/json.h"

namespace roformer_ext::io {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSuffix = ".safetensors";

// Whether it names a file of the same directory, on any system.
bool is_shard(const std::string& name) {
  return name.ends_with(kSuffix) && name.find_first_of(std::string_view("/\\:\0", 4)) == name.npos;
}

// The file of each tensor.
std::map<std::string, std::string> read_index(const std::string& path) {
  const MappedFile file(path);
  const auto index = parse_object(file.text(), path);
  const auto places = index.find("weight_map");
  if (places == index.end() || !places->is_object()) {
    throw FileError(path + " must have an object weight_map");
  }
  std::map<std::string, std::string> result;
  for (const auto& [name, shard] : places->items()) {
    if (!shard.is_string() || !is_shard(shard.get_ref<const std::string&>())) {
      throw FileError(path + " must give " + in_quotes(name) +
                      " the name of a .safetensors file beside it");
    }
    result.emplace(name, shard.get<std::string>());
  }
  return result;
}

TensorFiles read_shards(const fs::path& index) {
  TensorFiles files{.path = index.string(), .mapped = {}, .tensors = {}};
  const auto places = read_index(files.path);
  std::set<std::string> shards;
  for (const auto& [name, shard] : places) shards.insert(shard);
  for (const auto& shard : shards) {
    const std::string path = (index.parent_path() / shard).string();
    files.mapped.emplace_back(path);
    for (auto& [name, view] : parse_safetensors(files.mapped.back().bytes(), path)) {
      const auto place = places.find(name);
      if (place == places.end() || place->second != shard) {
        throw FileError(path + " must hold what its index says, got " + in_quotes(name));
      }
      files.tensors.emplace(name, view);
    }
  }
  for (const auto& [name, shard] : places) {
    if (!files.tensors.contains(name)) {
      const std::string path = (index.parent_path() / shard).string();
      throw FileError(path + " must hold " + in_quotes(name) + ", as its index says");
    }
  }
  return files;
}

}  // namespace

TensorFiles read_tensors(const std::string& directory) {
  const fs::path whole = fs::path(directory) / "model.safetensors";
  const fs::path index = fs::path(directory) / "model.safetensors.index.json";
  if (fs::exists(whole)) {
    TensorFiles files{.path = whole.string(), .mapped = {}, .tensors = {}};
    files.mapped.emplace_back(files.path);
    files.tensors = parse_safetensors(files.mapped.back().bytes(), files.path);
    return files;
  }
  if (fs::exists(index)) return read_shards(index);
  throw FileError("directory must hold model.safetensors or model.safetensors.index.json, got " +
                  in_quotes(directory));
}

}  // namespace roformer_ext::io
