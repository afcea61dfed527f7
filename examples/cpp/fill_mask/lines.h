// Lines of standard input, in blocks: as many as are there, so that a file fills every batch and a
// person who types one line has its answer at once.
//
// What must stay true: a block begins as soon as one line has come, and no more is read than a
// block holds, however long the input.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace fill_mask {

struct Line {
  std::int64_t number;  // from 1
  std::string text;     // without its end, "\n" or "\r\n"
};

class Lines {
 public:
  explicit Lines(int descriptor) : descriptor_(descriptor) {}

  // 1 to `most` lines, waiting for the first alone; none at the end. Refusal where reading fails.
  std::vector<Line> block(std::size_t most);

 private:
  bool take(std::vector<Line>& lines);
  bool ready() const;
  void fill();

  int descriptor_;
  std::string pending_;       // read, and not yet given out
  std::size_t searched_ = 0;  // of it: holds no end of a line
  std::int64_t number_ = 0;
  bool ended_ = false;
};

}  // namespace fill_mask
