// A line that cannot be answered is dropped from its block before the model sees it.
#include "filler.h"

#include <algorithm>
#include <chrono>
#include <iostream>
#include <string>
#include <string_view>
#include <utility>

#include "answers.h"
#include "batches.h"
#include "errors.h"
#include "model.h"

namespace fill_mask {
namespace {

std::unique_ptr<Tokens> open_vocabulary(const Arguments& arguments, const Model& model) {
  if (arguments.vocab.empty() && arguments.model.ends_with(".pt2")) {
    throw Refusal("--vocab must name the folder of the vocabulary, which " + arguments.model +
                  " does not hold");
  }
  const std::string& folder = arguments.vocab.empty() ? arguments.model : arguments.vocab;
  auto tokens = open_tokens(folder);
  if (tokens->size() != model.vocab_size()) {
    throw Refusal(folder + ": the vocabulary must have the " + std::to_string(model.vocab_size()) +
                  " tokens of the model, got " + std::to_string(tokens->size()));
  }
  if (!tokens->advice().empty()) std::cerr << "fill_mask: " << tokens->advice() << '\n';
  return tokens;
}

void check(const Row& row, std::string_view line, const Tokens& tokens,
           std::optional<std::int64_t> max_length) {
  const std::int64_t masks = std::ranges::count(row, tokens.mask());
  if (masks == 0) throw BadLine("there is no " + tokens.mask_symbol() + " in it");
  const std::int64_t written = count_masks(tokens, line);
  if (masks != written) {
    // Another spelling became one on the way through normalization, or a longer token has it in it.
    throw BadLine(std::to_string(masks) + " tokens of it are masks, and it has " +
                  tokens.mask_symbol() + " " + std::to_string(written) + " times");
  }
  const auto length = static_cast<std::int64_t>(row.size());
  if (max_length && length > *max_length) {
    throw BadLine(std::to_string(length) + " tokens are more than the " +
                  std::to_string(*max_length) + " of --max-length");
  }
}

}  // namespace

Filler::Filler(const Arguments& arguments)
    : arguments_(arguments),
      model_(open_model(arguments.model, arguments.dtype)),
      tokens_(open_vocabulary(arguments, *model_)),
      max_length_(arguments.max_length ? arguments.max_length : model_->max_length()) {}

Filler::~Filler() = default;

void Filler::answer(const std::vector<Line>& block) {
  const auto begin = std::chrono::steady_clock::now();
  std::vector<Line> lines;
  std::vector<Row> rows;
  for (const Line& line : block) {
    try {
      Row row = tokens_->encode(line.text);
      if (!arguments_.tokens) check(row, line.text, *tokens_, max_length_);
      lines.push_back(line);
      rows.push_back(std::move(row));
      work_.tokens += static_cast<std::int64_t>(rows.back().size());
    } catch (const BadLine& error) {
      std::cerr << "fill_mask: line " << line.number << ": " << error.what() << '\n';
      ++work_.refused;
    }
  }
  work_.answered += static_cast<std::int64_t>(lines.size());
  if (arguments_.tokens) {
    write_tokens(lines, rows);
  } else {
    write_answers(lines, std::move(rows));
  }
  if (!std::cout.flush()) throw Refusal("standard output cannot be written");
  work_.seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

void Filler::write_tokens(const std::vector<Line>& lines, const std::vector<Row>& rows) const {
  for (std::size_t at = 0; at < lines.size(); ++at) {
    write_row(std::cout, lines[at], *tokens_, rows[at]);
  }
}

void Filler::write_answers(const std::vector<Line>& lines, std::vector<Row> rows) const {
  std::vector<std::size_t> lengths;
  lengths.reserve(rows.size());
  for (const Row& row : rows) lengths.push_back(row.size());
  std::vector<Answer> answers(rows.size());
  for (const auto& places : batches_of(lengths, static_cast<std::size_t>(arguments_.batch))) {
    std::vector<Row> batch;
    batch.reserve(places.size());
    for (const std::size_t place : places) batch.push_back(std::move(rows[place]));
    auto found = predict(*model_, batch, tokens_->mask(), tokens_->padding(), arguments_.top_k);
    for (std::size_t at = 0; at < places.size(); ++at) answers[places[at]] = std::move(found[at]);
  }
  for (std::size_t at = 0; at < lines.size(); ++at) {
    write_answer(std::cout, lines[at], *tokens_, answers[at]);
  }
}

}  // namespace fill_mask
