// BERT's basic tokenisation: the normal form of a text, and the words in it.
//
// The idea: everything is decided character by character, from Unicode's properties as ICU has
// them. What must stay true: the words are those of Python's RoFormerTokenizer, which takes
// categories from Unicode 8, so a character that is younger than that has none here either.
#pragma once

#include <string>
#include <vector>

namespace fill_mask {

struct BasicRules {
  bool lower_case = true;
  bool strip_accents = true;       // drops marks that stand on another character
  bool chinese_characters = true;  // each is a word of its own
  bool punctuation = true;         // and so is each punctuation mark
};

// Without control characters, with every white space a space; lower case and without accents where
// the rules say so.
std::u32string normal_form(const std::u32string& text, const BasicRules& rules);

// The words of a normal form, in order. Spaces divide always, the rest as the rules say.
std::vector<std::u32string> words_of(const std::u32string& normal, const BasicRules& rules);

// Whether a character is one of CJK's unified or compatibility ideographs, as BERT lists them.
bool is_chinese(char32_t character);

}  // namespace fill_mask
