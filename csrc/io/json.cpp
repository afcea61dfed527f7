// The parser with a watcher that counts depth and remembers the keys of open objects.
#include "io/json.h"

#include <cstddef>
#include <unordered_set>
#include <vector>

#include "io/file_error.h"

namespace roformer_ext::io {
namespace {

constexpr std::size_t kLongest = std::size_t{64} << 20;
constexpr int kDeepest = 32;

}  // namespace

nlohmann::json parse_object(std::string_view text, const std::string& path) {
  using Event = nlohmann::json::parse_event_t;
  if (text.size() > kLongest) {
    throw FileError(path + " must be at most 64 MiB long, got " + std::to_string(text.size()) +
                    " bytes");
  }
  // The parser would take it for the end of its text.
  if (text.find('\0') != std::string_view::npos) {
    throw FileError(path + " must be JSON, got a zero at byte " + std::to_string(text.find('\0')));
  }
  std::vector<std::unordered_set<std::string>> keys;  // of each object that is open
  const auto watch = [&](int depth, Event event, nlohmann::json& parsed) {
    if (depth > kDeepest) throw FileError(path + " must nest at most 32 deep");
    if (event == Event::object_start) keys.emplace_back();
    if (event == Event::object_end) keys.pop_back();
    if (event == Event::key) {
      const auto& key = parsed.get_ref<const std::string&>();
      if (!keys.back().insert(key).second) {
        throw FileError(path + " must have each key once, got " + in_quotes(key) + " twice");
      }
    }
    return true;
  };
  try {
    auto value = nlohmann::json::parse(text.begin(), text.end(), watch);
    if (!value.is_object()) {
      throw FileError(path + " must be a JSON object, got " + value.type_name());
    }
    return value;
  } catch (const nlohmann::json::parse_error& error) {
    const std::size_t byte = error.byte == 0 ? 0 : error.byte - 1;
    throw FileError(path + " must be JSON, got an error at byte " + std::to_string(byte));
  } catch (const nlohmann::json::out_of_range&) {
    throw FileError(path + " must be JSON, got a number that no float64 holds");
  }
}

}  // namespace roformer_ext::io
