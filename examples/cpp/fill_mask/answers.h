// How answers are written.
#pragma once

#include <ostream>

#include "lines.h"
#include "predictions.h"
#include "tokens.h"

namespace fill_mask {

//   7: the query turns
//     [MASK] 1  'query' 0.8123  'key' 0.1206
//
// The line with the most probable token in every place, under its number; tokens as the vocabulary
// has them, with probabilities. What a terminal could not show is \xNN.
void write_answer(std::ostream& out, const Line& line, const Tokens& tokens, const Answer& answer);

//   7:  '[CLS]' 2  'the' 11  '[MASK]' 4  '[SEP]' 3
//
// The row that the model reads, tokens with their ids.
void write_row(std::ostream& out, const Line& line, const Tokens& tokens, const Row& row);

}  // namespace fill_mask
