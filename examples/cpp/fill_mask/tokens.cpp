// vocab.txt comes first, as in Python, where a folder has both files.
#include "tokens.h"

#include <filesystem>

#include "characters.h"
#include "errors.h"
#include "wordpiece.h"

namespace fill_mask {

std::unique_ptr<Tokens> open_tokens(const std::string& folder) {
  const std::filesystem::path home(folder);
  if (std::filesystem::exists(home / "vocab.txt")) {
    return std::make_unique<WordPiece>(read_token_files(home));
  }
  if (std::filesystem::exists(home / "vocab.json")) {
    return std::make_unique<Characters>(home / "vocab.json");
  }
  const bool engine = std::filesystem::exists(home / "tokenizer.json");
  throw Refusal(folder + ": must hold vocab.txt (WordPiece) or the vocab.json of train_mlm.py" +
                (engine ? ", and has tokenizer.json alone; RoFormerTokenizer.from_pretrained and "
                          "save_pretrained in Python write the other from it"
                        : "; --vocab names another folder"));
}

std::int64_t count_masks(const Tokens& tokens, std::string_view line) {
  const std::string& symbol = tokens.mask_symbol();
  std::int64_t count = 0;
  for (auto at = line.find(symbol); at != line.npos; at = line.find(symbol, at + symbol.size())) {
    ++count;
  }
  return count;
}

std::string filled(const Tokens& tokens, std::string_view line,
                   const std::vector<std::int64_t>& ids) {
  std::string text;
  const std::string& symbol = tokens.mask_symbol();
  for (const std::int64_t id : ids) {
    const std::size_t at = line.find(symbol);
    text += line.substr(0, at);
    tokens.put(text, id);
    line.remove_prefix(at + symbol.size());
  }
  text += line;
  return text;
}

}  // namespace fill_mask
