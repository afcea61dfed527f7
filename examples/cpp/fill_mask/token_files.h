// The files of a WordPiece tokenizer: vocab.txt and the settings beside it.
//
// The idea: what `RoFormerTokenizer.from_pretrained` reads in Python, in the same order of
// precedence: tokenizer_config.json, special_tokens_map.json, tokenizer.json, then the defaults of
// BERT. What must stay true: an id is the place of a token, and no place is in doubt.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "basic_text.h"

namespace fill_mask {

struct TokenFiles {
  std::vector<std::string> tokens;  // by id
  BasicRules rules;
  bool chinese_words = false;  // words of several Chinese characters are tokens
  std::string unknown = "[UNK]", padding = "[PAD]", first = "[CLS]", last = "[SEP]",
              mask = "[MASK]";
  std::vector<std::string> whole;  // found in a text as they stand: the special tokens and others
};

// Reads a folder that has vocab.txt. Refusal names the file and the token, field or line of it that
// does not fit.
TokenFiles read_token_files(const std::filesystem::path& folder);

}  // namespace fill_mask
