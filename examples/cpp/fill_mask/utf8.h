// UTF-8 to code points and back, by ICU.
//
// The idea: tokens are cut between code points, so a text is decoded once, strictly, and a byte
// that is no UTF-8 is named by its place. What must stay true: whatever `printable` returns is one
// line of valid UTF-8.
#pragma once

#include <string>
#include <string_view>

namespace fill_mask {

// The code points of `text`; BadLine names the first byte, counted from 1, that is not UTF-8.
std::u32string decoded(std::string_view text);

// Code points, none of them a surrogate, as UTF-8.
std::string encoded(std::u32string_view text);

// `text` for a terminal: control characters and bytes that are not UTF-8 as \xNN.
std::string printable(std::string_view text);

}  // namespace fill_mask
