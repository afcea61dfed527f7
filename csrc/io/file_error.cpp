// Text of a file, made fit for a message.
#include "io/file_error.h"

namespace roformer_ext::io {

std::string in_quotes(std::string_view text) {
  constexpr std::size_t kShown = 80;
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string result = "'";
  for (const char each : text.substr(0, kShown)) {
    const auto byte = static_cast<unsigned char>(each);
    if (byte >= 0x20 && byte < 0x7f) {
      result += each;
    } else {
      result += {'\\', 'x', kDigits[byte >> 4], kDigits[byte & 15]};
    }
  }
  return result + (text.size() > kShown ? "...'" : "'");
}

}  // namespace roformer_ext::io
