// WordPiece (vocab.txt): [CLS], the longest pieces that spell each word, [SEP].
//
// The idea: special tokens are found in the line as it stands, what lies between them is divided
// into words by BERT's rules, and a word into the longest pieces of the vocabulary from its
// beginning on; pieces that go on begin with "##". What must stay true: ids equal those of Python's
// RoFormerTokenizer; with Chinese words as tokens, those of the words that jieba cuts, when the
// line has spaces between them.
#pragma once

#include <functional>
#include <unordered_map>

#include "token_files.h"
#include "tokens.h"

namespace fill_mask {

class WordPiece final : public Tokens {
 public:
  // Refusal names a special token that the vocabulary lacks.
  explicit WordPiece(TokenFiles files);

  std::int64_t size() const override { return static_cast<std::int64_t>(files_.tokens.size()); }
  const std::string& mask_symbol() const override { return files_.mask; }
  std::int64_t mask() const override { return mask_; }
  std::int64_t padding() const override { return padding_; }
  std::vector<std::int64_t> encode(std::string_view line) const override;
  std::string token(std::int64_t id) const override;
  void put(std::string& text, std::int64_t id) const override;
  std::string advice() const override;

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const {
      return std::hash<std::string_view>()(text);
    }
  };

  void append_stretch(std::vector<std::int64_t>& ids, const std::u32string& text) const;
  void append_word(std::vector<std::int64_t>& ids, const std::u32string& word) const;

  TokenFiles files_;
  std::vector<std::u32string> whole_;  // the longest first
  std::unordered_map<std::string, std::int64_t, Hash, std::equal_to<>> ids_;
  std::int64_t mask_, padding_, unknown_, first_, last_;
};

}  // namespace fill_mask
