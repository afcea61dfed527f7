// Text is code points down to the word, and UTF-8 in the vocabulary.
#include "wordpiece.h"

#include <algorithm>
#include <utility>

#include "errors.h"
#include "utf8.h"

namespace fill_mask {
namespace {

constexpr std::size_t kLongestWord = 100;  // a longer one is unknown
constexpr std::string_view kGoesOn = "##";

}  // namespace

WordPiece::WordPiece(TokenFiles files) : files_(std::move(files)) {
  for (std::int64_t id = 0; id < size(); ++id) ids_.emplace(token(id), id);
  const auto id_of = [this](const std::string& token) {
    const auto found = ids_.find(token);
    if (found == ids_.end()) {
      throw Refusal("the vocabulary must hold the special token " + printable(token) +
                    ", which is none of its " + std::to_string(size()));
    }
    return found->second;
  };
  mask_ = id_of(files_.mask);
  padding_ = id_of(files_.padding);
  unknown_ = id_of(files_.unknown);
  first_ = id_of(files_.first);
  last_ = id_of(files_.last);
  for (const std::string& token : files_.whole) {
    id_of(token);
    whole_.push_back(decoded(token));
  }
  std::ranges::stable_sort(whole_, std::ranges::greater(), &std::u32string::size);
}

std::vector<std::int64_t> WordPiece::encode(std::string_view line) const {
  const std::u32string text = decoded(line);
  std::vector<std::int64_t> ids{first_};
  std::u32string stretch;
  for (std::size_t at = 0; at < text.size();) {
    const auto found = std::ranges::find_if(whole_, [&](const std::u32string& token) {
      return text.compare(at, token.size(), token) == 0;
    });
    if (found == whole_.end()) {
      stretch.push_back(text[at++]);
      continue;
    }
    append_stretch(ids, stretch);
    stretch.clear();
    ids.push_back(ids_.find(encoded(*found))->second);
    at += found->size();
  }
  append_stretch(ids, stretch);
  ids.push_back(last_);
  return ids;
}

void WordPiece::append_stretch(std::vector<std::int64_t>& ids, const std::u32string& text) const {
  BasicRules rules = files_.rules;
  if (!files_.chinese_words) {
    for (const auto& word : words_of(normal_form(text, rules), rules)) append_word(ids, word);
    return;
  }
  rules.chinese_characters = false;
  for (const auto& word : words_of(normal_form(text, rules), rules)) {
    if (ids_.contains(encoded(word))) {
      append_word(ids, word);
    } else {
      for (const auto& part : words_of(word, files_.rules)) append_word(ids, part);
    }
  }
}

void WordPiece::append_word(std::vector<std::int64_t>& ids, const std::u32string& word) const {
  if (word.size() > kLongestWord) {
    ids.push_back(unknown_);
    return;
  }
  const std::size_t before = ids.size();
  for (std::size_t start = 0; start < word.size();) {
    const std::string prefix(start == 0 ? "" : kGoesOn);
    std::size_t stop = word.size();
    auto found = ids_.end();
    for (; stop > start; --stop) {
      found = ids_.find(prefix + encoded(word.substr(start, stop - start)));
      if (found != ids_.end()) break;
    }
    if (found == ids_.end()) {
      ids.resize(before);
      ids.push_back(unknown_);
      return;
    }
    ids.push_back(found->second);
    start = stop;
  }
}

std::string WordPiece::token(std::int64_t id) const {
  return files_.tokens.at(static_cast<std::size_t>(id));
}

// A piece that goes on ends the word before it, whatever space the line has there.
void WordPiece::put(std::string& text, std::int64_t id) const {
  const std::string piece = token(id);
  if (!piece.starts_with(kGoesOn) || piece == kGoesOn) {
    text += piece;
    return;
  }
  while (text.ends_with(' ')) text.pop_back();
  text += piece.substr(kGoesOn.size());
}

std::string WordPiece::advice() const {
  if (!files_.chinese_words) return {};
  return "the tokens are Chinese words: lines are read as cut into words already, by jieba, say, "
         "with spaces between words and punctuation marks";
}

}  // namespace fill_mask
