// A state machine over the parser's tokens: where it stands decides what may come next.
#include "io/safetensors_header.h"

#include <array>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <unordered_set>
#include <utility>

#include "io/file_error.h"

namespace roformer_ext::io {
namespace {

constexpr std::size_t kMostDimensions = 16;

struct Kind {
  std::string_view name;
  std::size_t width;
};
// In the order of Dtype.
constexpr std::array<Kind, 10> kKinds{{{"BOOL", 1},
                                       {"U8", 1},
                                       {"I8", 1},
                                       {"I16", 2},
                                       {"I32", 4},
                                       {"I64", 8},
                                       {"F16", 2},
                                       {"BF16", 2},
                                       {"F32", 4},
                                       {"F64", 8}}};

// What nlohmann's parser calls with each token. It returns true throughout: a refusal is thrown.
class HeaderReader {
 public:
  using number_integer_t = nlohmann::json::number_integer_t;
  using number_unsigned_t = nlohmann::json::number_unsigned_t;
  using number_float_t = nlohmann::json::number_float_t;
  using string_t = nlohmann::json::string_t;
  using binary_t = nlohmann::json::binary_t;

  explicit HeaderReader(const std::string& file) : file_(file) {}

  std::vector<HeaderEntry> entries;

  bool null() { refuse("null"); }
  bool boolean(bool) { refuse("a boolean"); }
  bool number_integer(number_integer_t) { refuse("a negative number"); }
  bool number_float(number_float_t, const string_t& text) { refuse(text); }
  bool binary(binary_t&) { refuse("binary data"); }

  bool number_unsigned(number_unsigned_t number) {
    if (place_ == Place::kShape && entries.back().shape.size() < kMostDimensions &&
        number <= static_cast<number_unsigned_t>(std::numeric_limits<std::int64_t>::max())) {
      entries.back().shape.push_back(static_cast<std::int64_t>(number));
    } else if (place_ == Place::kOffsets && offsets_ < 2) {
      (offsets_++ == 0 ? entries.back().begin : entries.back().end) = number;
    } else {
      refuse(std::to_string(number));
    }
    return true;
  }

  bool string(string_t& text) {
    if (place_ == Place::kMetadata) return true;
    if (place_ != Place::kEntry || field_ != "dtype") refuse(in_quotes(text));
    for (std::size_t index = 0; index < kKinds.size(); ++index) {
      if (kKinds[index].name == text) {
        entries.back().dtype = static_cast<Dtype>(index);
        return true;
      }
    }
    refuse(in_quotes(text));
  }

  bool start_object(std::size_t) {
    if (place_ == Place::kStart) {
      place_ = Place::kTop;
    } else if (place_ == Place::kTop && name_ == "__metadata__") {
      place_ = Place::kMetadata;
    } else if (place_ == Place::kTop) {
      place_ = Place::kEntry;
      entries.push_back({.name = name_, .shape = {}});
      fields_.clear();
    } else {
      refuse("an object");
    }
    return true;
  }

  bool key(string_t& text) {
    if (place_ == Place::kTop) {
      name_ = text;
      if (!names_.insert(text).second) refuse("a second tensor of this name");
    } else if (place_ == Place::kMetadata) {
      if (!metadata_.insert(text).second) refuse(in_quotes(text) + " twice");
    } else {
      field_ = text;
      if (text != "dtype" && text != "shape" && text != "data_offsets") refuse(in_quotes(text));
      if (!fields_.insert(text).second) refuse(in_quotes(text) + " twice");
    }
    return true;
  }

  bool end_object() {
    if (place_ == Place::kEntry && fields_.size() != 3) refuse("fewer fields");
    place_ = place_ == Place::kTop ? Place::kStart : Place::kTop;
    return true;
  }

  bool start_array(std::size_t) {
    if (place_ != Place::kEntry || field_ == "dtype") refuse("an array");
    place_ = field_ == "shape" ? Place::kShape : Place::kOffsets;
    offsets_ = 0;
    return true;
  }

  bool end_array() {
    if (place_ == Place::kOffsets && offsets_ != 2) refuse("fewer offsets");
    place_ = Place::kEntry;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception&) {
    // The parser counts from 1, and 8 bytes of length stand before the header.
    const std::string byte = std::to_string(8 + (position == 0 ? 0 : position - 1));
    throw FileError(file_ + " must have a header of JSON, got an error at byte " + byte);
  }

 private:
  enum class Place : std::uint8_t { kStart, kTop, kMetadata, kEntry, kShape, kOffsets };

  [[noreturn]] void refuse(const std::string& got) const {
    const bool metadata = name_ == "__metadata__";
    throw FileError(file_ + " must give " + (metadata ? name_ : in_quotes(name_)) +
                    (metadata ? " an object of strings, got "
                              : " a known dtype, a shape of sizes and two data_offsets, got ") +
                    got);
  }

  const std::string& file_;
  Place place_ = Place::kStart;
  std::string name_;   // of the tensor that is being read
  std::string field_;  // of its object
  int offsets_ = 0;    // read so far
  std::unordered_set<std::string> names_, metadata_, fields_;
};

}  // namespace

std::size_t width_of(Dtype dtype) { return kKinds[static_cast<std::size_t>(dtype)].width; }

std::string_view name_of(Dtype dtype) { return kKinds[static_cast<std::size_t>(dtype)].name; }

std::vector<HeaderEntry> read_header(std::string_view text, const std::string& file) {
  // The parser would skip a byte order mark, and takes a zero byte for the end of its text.
  if (text.empty() || text.front() != '{') {
    throw FileError(file + " must have a header that begins with { at byte 8");
  }
  if (const auto zero = text.find('\0'); zero != std::string_view::npos) {
    throw FileError(file + " must have a header of JSON, got a zero at byte " +
                    std::to_string(8 + zero));
  }
  HeaderReader reader(file);
  nlohmann::json::sax_parse(text.begin(), text.end(), &reader);
  return std::move(reader.entries);
}

}  // namespace roformer_ext::io
