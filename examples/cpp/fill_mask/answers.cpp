#include "answers.h"

#include <iomanip>
#include <vector>

#include "utf8.h"

namespace fill_mask {
namespace {

std::ostream& write_token(std::ostream& out, const Tokens& tokens, std::int64_t id) {
  return out << "  '" << printable(tokens.token(id)) << "' ";
}

}  // namespace

void write_answer(std::ostream& out, const Line& line, const Tokens& tokens, const Answer& answer) {
  std::vector<std::int64_t> best;
  best.reserve(answer.size());
  for (const auto& candidates : answer) best.push_back(candidates.front().token);
  out << line.number << ": " << printable(filled(tokens, line.text, best)) << '\n';
  for (std::size_t place = 0; place < answer.size(); ++place) {
    out << "  " << tokens.mask_symbol() << ' ' << place + 1;
    for (const auto& [token, probability] : answer[place]) {
      write_token(out, tokens, token) << std::fixed << std::setprecision(4) << probability;
    }
    out << '\n';
  }
}

void write_row(std::ostream& out, const Line& line, const Tokens& tokens, const Row& row) {
  out << line.number << ':';
  for (const std::int64_t id : row) write_token(out, tokens, id) << id;
  out << '\n';
}

}  // namespace fill_mask
