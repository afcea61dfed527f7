// poll(2) says whether a read would wait.
#include "lines.h"

#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "errors.h"

namespace fill_mask {

std::vector<Line> Lines::block(std::size_t most) {
  std::vector<Line> lines;
  while (lines.size() < most) {
    if (take(lines)) continue;
    if (ended_ || (!lines.empty() && !ready())) break;
    fill();
  }
  return lines;
}

// Moves one line from what was read to `lines`, if there is one.
bool Lines::take(std::vector<Line>& lines) {
  const std::size_t end = pending_.find('\n', searched_);
  searched_ = pending_.size();
  if (end == std::string::npos && (!ended_ || pending_.empty())) return false;
  std::string text = pending_.substr(0, end);
  pending_.erase(0, end == std::string::npos ? end : end + 1);
  searched_ = 0;
  if (text.ends_with('\r')) text.pop_back();
  lines.push_back({++number_, std::move(text)});
  return true;
}

bool Lines::ready() const {
  pollfd input{descriptor_, POLLIN, 0};
  return poll(&input, 1, 0) > 0;
}

void Lines::fill() {
  std::array<char, 1 << 16> bytes;
  const ssize_t count = read(descriptor_, bytes.data(), bytes.size());
  if (count < 0 && errno == EINTR) return;
  if (count < 0) throw Refusal(std::string("standard input: ") + std::strerror(errno));
  ended_ = count == 0;
  pending_.append(bytes.data(), static_cast<std::size_t>(count));
}

}  // namespace fill_mask
