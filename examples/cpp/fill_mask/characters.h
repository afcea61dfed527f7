// Tokens that are characters or bytes: the vocabulary that scripts/train_mlm.py leaves.
//
// vocab.json lists `specials`, then `symbols`, in the order of their ids; a symbol of the kind
// "byte" is the byte with its code point. What must stay true: [MASK] is the only word of a line
// that is read as one token, and a row is the line and nothing else.
#pragma once

#include <filesystem>
#include <unordered_map>

#include "tokens.h"

namespace fill_mask {

class Characters final : public Tokens {
 public:
  // Refusal names what `path` lacks.
  explicit Characters(const std::filesystem::path& path);

  std::int64_t size() const override { return static_cast<std::int64_t>(tokens_.size()); }
  const std::string& mask_symbol() const override { return mask_symbol_; }
  std::int64_t mask() const override { return mask_; }
  std::int64_t padding() const override { return padding_; }
  std::vector<std::int64_t> encode(std::string_view line) const override;
  std::string token(std::int64_t id) const override;
  void put(std::string& text, std::int64_t id) const override { text += token(id); }

 private:
  bool bytes_ = false;
  std::vector<std::string> tokens_;
  std::unordered_map<char32_t, std::int64_t> ids_;
  std::string mask_symbol_ = "[MASK]";
  std::int64_t mask_ = 0, padding_ = 0, unknown_ = 0;
};

}  // namespace fill_mask
