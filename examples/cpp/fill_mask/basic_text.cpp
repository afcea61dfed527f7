// Cleaning, accents, lower case, in the order of the package tokenizers' BertNormalizer.
#include "basic_text.h"

#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>

#include "errors.h"

namespace fill_mask {
namespace {

constexpr int kUnicode = 8;
constexpr char32_t kReplacement = 0xfffd, kDottedCapitalI = 0x130, kDotAbove = 0x307;

// U_GC_..._MASK of a character; 0 for one that is unassigned or younger than `kUnicode`.
std::uint32_t category(char32_t character) {
  const auto point = static_cast<UChar32>(character);
  UVersionInfo age{};
  u_charAge(point, age);
  const bool known = std::pair<int, int>(age[0], age[1]) <= std::pair(kUnicode, 0);
  return known ? U_GET_GC_MASK(point) & ~U_GC_CN_MASK : 0;
}

bool is_space(char32_t character) { return u_isUWhiteSpace(static_cast<UChar32>(character)) != 0; }

bool is_dropped(char32_t character) {
  if (character == U'\t' || character == U'\n' || character == U'\r') return false;
  return character == kReplacement || (category(character) & U_GC_C_MASK) != 0;
}

// In ASCII every mark that is no letter, digit or space counts.
bool is_punctuation(char32_t character) {
  if (character < 0x80) return (category(character) & (U_GC_P_MASK | U_GC_S_MASK)) != 0;
  return (category(character) & U_GC_P_MASK) != 0;
}

std::u32string without_accents(const std::u32string& text) {
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* form = icu::Normalizer2::getNFDInstance(status);
  if (U_FAILURE(status)) {
    throw Refusal(std::string("ICU has no data for NFD: ") + u_errorName(status));
  }
  const auto units = icu::UnicodeString::fromUTF32(reinterpret_cast<const UChar32*>(text.data()),
                                                   static_cast<std::int32_t>(text.size()));
  const icu::UnicodeString apart = form->normalize(units, status);
  std::u32string kept;
  for (std::int32_t at = 0; at < apart.length(); at = apart.moveIndex32(at, 1)) {
    const auto character = static_cast<char32_t>(apart.char32At(at));
    if ((category(character) & U_GC_MN_MASK) == 0) kept.push_back(character);
  }
  return kept;
}

// U+0130 alone has a lower case of two characters.
std::u32string lower_case(const std::u32string& text) {
  std::u32string lower;
  for (const char32_t character : text) {
    if (character == kDottedCapitalI) {
      lower += {U'i', kDotAbove};
    } else {
      lower.push_back(static_cast<char32_t>(u_tolower(static_cast<UChar32>(character))));
    }
  }
  return lower;
}

}  // namespace

std::u32string normal_form(const std::u32string& text, const BasicRules& rules) {
  std::u32string normal;
  for (const char32_t character : text) {
    if (!is_dropped(character)) normal.push_back(is_space(character) ? U' ' : character);
  }
  if (rules.strip_accents) normal = without_accents(normal);
  if (rules.lower_case) normal = lower_case(normal);
  return normal;
}

std::vector<std::u32string> words_of(const std::u32string& normal, const BasicRules& rules) {
  std::vector<std::u32string> words;
  bool open = false;
  for (const char32_t character : normal) {
    const bool alone = (rules.punctuation && is_punctuation(character)) ||
                       (rules.chinese_characters && is_chinese(character));
    if (character == U' ') {
      open = false;
    } else if (open && !alone) {
      words.back().push_back(character);
    } else {
      words.emplace_back(1, character);
      open = !alone;
    }
  }
  return words;
}

bool is_chinese(char32_t character) {
  using Block = std::pair<char32_t, char32_t>;
  static constexpr std::array<Block, 7> kBlocks{{{0x3400, 0x4dbf},
                                                 {0x4e00, 0x9fff},
                                                 {0xf900, 0xfaff},
                                                 {0x20000, 0x2a6df},
                                                 {0x2a700, 0x2b81f},
                                                 {0x2b920, 0x2ceaf},
                                                 {0x2f800, 0x2fa1f}}};
  return std::ranges::any_of(kBlocks, [&](const Block& block) {
    return block.first <= character && character <= block.second;
  });
}

}  // namespace fill_mask
