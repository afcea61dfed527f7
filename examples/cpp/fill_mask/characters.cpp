// The file is small, so it is parsed whole and every wrong field is one sentence.
#include "characters.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "errors.h"
#include "utf8.h"

namespace fill_mask {
namespace {

std::int64_t place(const std::vector<std::string>& specials, const std::string& token) {
  const auto found = std::ranges::find(specials, token);
  if (found == specials.end()) throw Refusal("specials must hold " + token + ", which is missing");
  return found - specials.begin();
}

// Bytes as the code points of the same numbers.
std::u32string widened(std::string_view bytes) {
  std::u32string text;
  for (const char byte : bytes) text.push_back(static_cast<unsigned char>(byte));
  return text;
}

}  // namespace

Characters::Characters(const std::filesystem::path& path) {
  try {
    std::ifstream file(path);
    const auto content = nlohmann::json::parse(file);
    const auto kind = content.at("tokens").get<std::string>();
    if (kind != "char" && kind != "byte") {
      throw Refusal("tokens must be 'char' or 'byte', got '" + printable(kind) + "'");
    }
    bytes_ = kind == "byte";
    content.at("specials").get_to(tokens_);
    mask_ = place(tokens_, mask_symbol_);
    padding_ = place(tokens_, "[PAD]");
    unknown_ = place(tokens_, "[UNK]");
    for (const auto& symbol : content.at("symbols")) {
      const std::u32string points = decoded(symbol.get<std::string>());
      if (points.size() != 1 || (bytes_ && points[0] > 0xff)) {
        throw Refusal("symbols must be " + kind + "s, got '" + printable(encoded(points)) + "'");
      }
      if (!ids_.emplace(points[0], size()).second) {
        throw Refusal("symbols must differ, got '" + printable(encoded(points)) + "' twice");
      }
      tokens_.push_back(bytes_ ? std::string(1, static_cast<char>(points[0])) : encoded(points));
    }
  } catch (const nlohmann::json::exception& error) {
    throw Refusal(path.string() +
                  ": must have tokens, specials and symbols as train_mlm.py writes " +
                  "them, but " + error.what());
  } catch (const std::runtime_error& error) {
    throw Refusal(path.string() + ": " + error.what());
  }
}

std::vector<std::int64_t> Characters::encode(std::string_view line) const {
  const std::u32string text = bytes_ ? widened(line) : decoded(line);
  const std::u32string symbol = widened(mask_symbol_);
  std::vector<std::int64_t> ids;
  for (std::size_t at = 0; at < text.size();) {
    if (text.compare(at, symbol.size(), symbol) == 0) {
      ids.push_back(mask_);
      at += symbol.size();
    } else {
      const auto found = ids_.find(text[at++]);
      ids.push_back(found == ids_.end() ? unknown_ : found->second);
    }
  }
  return ids;
}

std::string Characters::token(std::int64_t id) const {
  return tokens_.at(static_cast<std::size_t>(id));
}

}  // namespace fill_mask
