// Tokens: how a line becomes the row of ids that a model reads, and how an id is written.
//
// The idea: the folder of a checkpoint says what its tokens are. vocab.txt is WordPiece, vocab.json
// the characters or bytes of scripts/train_mlm.py. What must stay true: ids are those that the
// Python side gives the same line.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace fill_mask {

class Tokens {
 public:
  virtual ~Tokens() = default;

  // How many there are: ids are 0 .. size() - 1.
  virtual std::int64_t size() const = 0;
  // What a line writes where a token is to be found, such as "[MASK]", and its id.
  virtual const std::string& mask_symbol() const = 0;
  virtual std::int64_t mask() const = 0;
  virtual std::int64_t padding() const = 0;

  // The row that the model reads. BadLine where the line is not UTF-8 and has to be.
  virtual std::vector<std::int64_t> encode(std::string_view line) const = 0;

  // A token as the vocabulary has it.
  virtual std::string token(std::int64_t id) const = 0;
  // Appends a token to a text that ends where the token is to stand.
  virtual void put(std::string& text, std::int64_t id) const = 0;
  // What a user should know before the first line; empty where there is nothing.
  virtual std::string advice() const { return {}; }
};

// The tokens of a folder. Refusal names the file that is missing or wrong.
std::unique_ptr<Tokens> open_tokens(const std::string& folder);

// How often the mask symbol stands in a line as it is written.
std::int64_t count_masks(const Tokens& tokens, std::string_view line);

// `line` with the tokens in the places of its mask symbols, in their order; as many of either.
std::string filled(const Tokens& tokens, std::string_view line,
                   const std::vector<std::int64_t>& ids);

}  // namespace fill_mask
