// Blocks of lines in, answers out: what stands between the input and the model.
//
// The idea: a block becomes rows of ids, rows of similar length become batches, and the answers are
// written in the order of the lines. What must stay true: no line is cut, and none is left out
// without a word.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "arguments.h"
#include "lines.h"
#include "predictions.h"
#include "tokens.h"

namespace fill_mask {

// What was done.
struct Work {
  std::int64_t answered = 0, refused = 0;  // lines
  std::int64_t tokens = 0;                 // of the lines answered, without padding
  double seconds = 0;                      // without the time spent waiting for lines
};

class Filler {
 public:
  // Opens model and vocabulary; Refusal and what `open_model` throws say what is wrong.
  explicit Filler(const Arguments& arguments);
  ~Filler();

  // Writes the answers to standard output, and to standard error why a line has none.
  void answer(const std::vector<Line>& block);

  const Work& work() const { return work_; }

 private:
  void write_tokens(const std::vector<Line>& lines, const std::vector<Row>& rows) const;
  void write_answers(const std::vector<Line>& lines, std::vector<Row> rows) const;

  const Arguments arguments_;
  const std::unique_ptr<Model> model_;
  const std::unique_ptr<Tokens> tokens_;
  const std::optional<std::int64_t> max_length_;
  Work work_;
};

}  // namespace fill_mask
