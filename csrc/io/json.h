// JSON files beside the tensors: config.json and the index of shards.
//
// The idea: nlohmann's parser does the work and this file makes it strict. What must stay true: a
// file that is too long, too deep, repeats a key or is no object is one FileError.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace roformer_ext::io {

// The JSON object that `text` is; `path` is for messages.
nlohmann::json parse_object(std::string_view text, const std::string& path);

}  // namespace roformer_ext::io
