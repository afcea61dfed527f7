// One loop over ICU's strict decoder serves both readers.
#include "utf8.h"

#include <unicode/uchar.h>
#include <unicode/utf8.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>

#include "errors.h"

namespace fill_mask {
namespace {

struct Next {
  UChar32 point;     // negative: the bytes are no character
  std::size_t stop;  // where the next character begins
};

// The character that begins at `start`.
Next next(std::string_view text, std::size_t start) {
  // No character is longer than four bytes, and ICU counts in 32 bits.
  const std::string_view ahead = text.substr(start, 4);
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(ahead.data());
  const auto length = static_cast<std::int32_t>(ahead.size());
  std::int32_t at = 0;
  UChar32 point = 0;
  U8_NEXT(bytes, at, length, point);  // NOLINT(bugprone-inc-dec-in-conditions): ICU's own
  return {point, start + static_cast<std::size_t>(at)};
}

std::string hexadecimal(const char* format, char byte) {
  std::array<char, 8> digits{};
  std::snprintf(digits.data(), digits.size(), format,
                static_cast<unsigned>(static_cast<unsigned char>(byte)));
  return digits.data();
}

}  // namespace

std::u32string decoded(std::string_view text) {
  std::u32string points;
  points.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const auto [point, stop] = next(text, at);
    if (point < 0) {
      throw BadLine("byte " + std::to_string(at + 1) + ", " + hexadecimal("0x%02x", text[at]) +
                    ", is not UTF-8");
    }
    points.push_back(static_cast<char32_t>(point));
    at = stop;
  }
  return points;
}

std::string encoded(std::u32string_view text) {
  std::string bytes;
  bytes.reserve(text.size());
  for (const char32_t point : text) {
    std::array<std::uint8_t, U8_MAX_LENGTH> form{};
    std::size_t length = 0;
    U8_APPEND_UNSAFE(form.data(), length, point);
    bytes.append(reinterpret_cast<const char*>(form.data()), length);
  }
  return bytes;
}

std::string printable(std::string_view text) {
  std::string shown;
  for (std::size_t at = 0; at < text.size();) {
    const auto [point, stop] = next(text, at);
    if (point >= 0 && u_charType(point) != U_CONTROL_CHAR) {
      shown += text.substr(at, stop - at);
    } else {
      for (const char byte : text.substr(at, stop - at)) shown += hexadecimal("\\x%02x", byte);
    }
    at = stop;
  }
  return shown;
}

}  // namespace fill_mask
