// One small function for each file, and one for each kind of setting.
#include "token_files.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <nlohmann/json.hpp>
#include <unordered_set>
#include <utility>

#include "errors.h"
#include "utf8.h"

namespace fill_mask {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

// The object in a file, an empty one where there is no file.
json read_object(const fs::path& path) {
  if (!fs::exists(path)) return json::object();
  std::ifstream file(path);
  json content = json::parse(file, nullptr, false);
  if (!content.is_object()) throw Refusal(path.string() + ": must be a JSON object");
  return content;
}

// The lines of vocab.txt; a byte order mark and carriage returns are no part of a token.
std::vector<std::string> read_lines(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::vector<std::string> lines;
  std::unordered_set<std::string> seen;
  for (std::string line; std::getline(file, line);) {
    if (lines.empty() && line.starts_with("\xef\xbb\xbf")) line.erase(0, 3);
    if (line.ends_with('\r')) line.pop_back();
    const std::string place = path.string() + ", line " + std::to_string(lines.size() + 1) + ": ";
    try {
      decoded(line);
    } catch (const BadLine& error) {
      throw Refusal(place + error.what());
    }
    if (line.empty()) throw Refusal(place + "must hold a token, got nothing");
    if (!seen.insert(line).second) {
      throw Refusal(place + "must hold a new token, got " + printable(line) + " again");
    }
    lines.push_back(std::move(line));
  }
  if (lines.empty()) throw Refusal(path.string() + ": must hold a token on each line, got none");
  return lines;
}

// The string of a token, which a file may describe by an object.
std::string content(const json& token) {
  return (token.is_object() ? token.at("content") : token).get<std::string>();
}

void read_flag(const json& settings, const char* name, bool& flag) {
  if (settings.contains(name) && !settings.at(name).is_null()) settings.at(name).get_to(flag);
}

void read_token(const json& settings, const char* name, std::string& token) {
  if (settings.contains(name) && !settings.at(name).is_null()) token = content(settings.at(name));
}

void read_rules(const json& settings, const json& engine, BasicRules& rules) {
  json flags = json::object();
  const json normalizer = engine.value("normalizer", json());
  if (normalizer.is_object() && normalizer.value("type", "") == "BertNormalizer") {
    flags["do_lower_case"] = normalizer.value("lowercase", true);
    flags["strip_accents"] = normalizer.value("strip_accents", json());
  }
  flags.update(settings);
  read_flag(flags, "do_lower_case", rules.lower_case);
  rules.strip_accents = rules.lower_case;
  read_flag(flags, "strip_accents", rules.strip_accents);
  read_flag(flags, "tokenize_chinese_chars", rules.chinese_characters);
}

// The vocabulary of a tokenizer.json by id.
std::vector<std::string> engine_tokens(const json& engine) {
  const json model = engine.value("model", json::object());
  const json vocab = model.is_object() ? model.value("vocab", json()) : json();
  if (!vocab.is_object() || model.value("type", "WordPiece") != "WordPiece") {
    throw Refusal("tokenizer.json must hold a WordPiece model with its vocab, got another");
  }
  std::vector<std::string> tokens(vocab.size());
  for (const auto& [token, place] : vocab.items()) {
    const auto id = place.get<std::size_t>();
    if (token.empty() || id >= tokens.size() || !tokens[id].empty()) {
      throw Refusal("tokenizer.json must give its " + std::to_string(tokens.size()) +
                    " tokens the ids from 0 on, each once, got " + std::to_string(id) + " for '" +
                    printable(token) + "'");
    }
    tokens[id] = token;
  }
  return tokens;
}

// The longer one of two lists that agree as far as both go.
std::vector<std::string> joined(std::vector<std::string> listed, std::vector<std::string> engine) {
  const auto [one, other] = std::ranges::mismatch(listed, engine);
  if (one != listed.end() && other != engine.end()) {
    throw Refusal("vocab.txt and tokenizer.json must agree, got '" + printable(*one) + "' and '" +
                  printable(*other) + "' for id " + std::to_string(one - listed.begin()));
  }
  return listed.size() >= engine.size() ? listed : engine;
}

std::size_t number(const std::string& word) {
  std::size_t id = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), id);
  if (error != std::errc() || end != word.data() + word.size()) {
    throw Refusal("the id of an added token must be a number, got '" + printable(word) + "'");
  }
  return id;
}

// Tokens that are declared beside the vocabulary, each with its id.
std::vector<std::pair<std::size_t, std::string>> added_tokens(const json& settings,
                                                              const json& engine,
                                                              const json& older) {
  std::vector<std::pair<std::size_t, std::string>> added;
  for (const json& each : engine.value("added_tokens", json::array())) {
    added.emplace_back(each.at("id").get<std::size_t>(), content(each));
  }
  // A name of its own: `items` does not keep a temporary alive.
  const json decoder = settings.value("added_tokens_decoder", json::object());
  for (const auto& [id, each] : decoder.items()) added.emplace_back(number(id), content(each));
  for (const auto& [token, id] : older.items()) added.emplace_back(id.get<std::size_t>(), token);
  std::ranges::sort(added);
  return added;
}

void add(TokenFiles& files, const std::vector<std::pair<std::size_t, std::string>>& added) {
  for (const auto& [id, token] : added) {
    if (token.empty()) {
      throw Refusal("an added token must not be empty, got nothing for id " + std::to_string(id));
    }
    if (id == files.tokens.size()) files.tokens.push_back(token);
    if (id >= files.tokens.size() || files.tokens[id] != token) {
      throw Refusal("the added token " + printable(token) + " must have the id of its place, got " +
                    std::to_string(id));
    }
    files.whole.push_back(token);
  }
}

void read_special(TokenFiles& files, const json& settings) {
  read_token(settings, "unk_token", files.unknown);
  read_token(settings, "pad_token", files.padding);
  read_token(settings, "cls_token", files.first);
  read_token(settings, "sep_token", files.last);
  read_token(settings, "mask_token", files.mask);
  for (const auto* token :
       {&files.unknown, &files.padding, &files.first, &files.last, &files.mask}) {
    files.whole.push_back(*token);
  }
  for (const char* name : {"additional_special_tokens", "extra_special_tokens"}) {
    // A list, or an object whose values are meant; null is none.
    for (const json& token : settings.value(name, json())) files.whole.push_back(content(token));
  }
}

// What the class says, and where none is named the vocabulary.
bool wants_words(const json& settings, const std::vector<std::string>& tokens) {
  std::string name;
  read_token(settings, "tokenizer_class", name);
  if (name.starts_with("RoFormerTokenizer")) return true;
  if (name.starts_with("BertTokenizer")) return false;
  return std::ranges::any_of(tokens, [](const std::string& token) {
    const std::u32string points = decoded(token);
    return points.size() > 1 && is_chinese(points[0]) && is_chinese(points[1]);
  });
}

}  // namespace

TokenFiles read_token_files(const fs::path& folder) {
  TokenFiles files;
  files.tokens = read_lines(folder / "vocab.txt");
  json settings = read_object(folder / "special_tokens_map.json");
  settings.update(read_object(folder / "tokenizer_config.json"));
  const json engine = read_object(folder / "tokenizer.json");
  const json older = read_object(folder / "added_tokens.json");
  try {
    read_rules(settings, engine, files.rules);
    if (!engine.empty()) files.tokens = joined(std::move(files.tokens), engine_tokens(engine));
    add(files, added_tokens(settings, engine, older));
    read_special(files, settings);
    files.chinese_words = wants_words(settings, files.tokens);
  } catch (const json::exception& error) {
    throw Refusal(folder.string() + ": the settings of the tokenizer do not read: " + error.what());
  } catch (const std::exception& error) {
    throw Refusal(folder.string() + ": " + error.what());
  }
  if (files.chinese_words) {
    files.rules.chinese_characters = true;
    files.rules.punctuation = false;
  }
  return files;
}

}  // namespace fill_mask
