// The layout of a file: 8 bytes of length, the header, then data that the tensors share out.
#include "io/safetensors.h"

#include <algorithm>
#include <optional>
#include <string_view>
#include <tuple>
#include <utility>

#include "io/file_error.h"

namespace roformer_ext::io {
namespace {

constexpr std::size_t kLengthBytes = 8;
constexpr std::uint64_t kLongestHeader = 100'000'000;

std::uint64_t read_length(std::span<const std::byte> file) {
  std::uint64_t length = 0;
  for (std::size_t index = kLengthBytes; index-- > 0;) {
    length = length << 8 | std::to_integer<std::uint64_t>(file[index]);
  }
  return length;
}

// Bytes of a tensor; nothing where the product is no 64-bit number.
std::optional<std::uint64_t> bytes_of(const HeaderEntry& entry) {
  if (std::ranges::find(entry.shape, 0) != entry.shape.end()) return 0;
  std::uint64_t bytes = width_of(entry.dtype);
  for (const std::int64_t size : entry.shape) {
    if (__builtin_mul_overflow(bytes, static_cast<std::uint64_t>(size), &bytes)) return {};
  }
  return bytes;
}

void check_size(const HeaderEntry& entry, const std::string& path) {
  const auto wanted = bytes_of(entry);
  if (wanted && entry.end >= entry.begin && entry.end - entry.begin == *wanted) return;
  throw FileError(path + " must give " + in_quotes(entry.name) +
                  " as many bytes as its shape and " + std::string(name_of(entry.dtype)) +
                  " need, " + (wanted ? std::to_string(*wanted) : "more than 64 bits can count") +
                  ", got those from " + std::to_string(entry.begin) + " to " +
                  std::to_string(entry.end));
}

}  // namespace

TensorViews parse_safetensors(std::span<const std::byte> file, const std::string& path) {
  const std::string size = std::to_string(file.size()) + " bytes";
  if (file.size() < kLengthBytes) {
    throw FileError(path + " must begin with 8 bytes of header length, got " + size);
  }
  const std::uint64_t length = read_length(file);
  if (length > std::min<std::uint64_t>(file.size() - kLengthBytes, kLongestHeader)) {
    throw FileError(path + " must hold its header of " + std::to_string(length) +
                    " bytes, 100 MB at most, from byte 8 on, got " + size);
  }
  const auto header = file.subspan(kLengthBytes, length);
  const auto data = file.subspan(kLengthBytes + length);
  auto entries = read_header({reinterpret_cast<const char*>(header.data()), header.size()}, path);

  std::ranges::sort(entries, {}, [](const HeaderEntry& entry) {
    return std::tie(entry.begin, entry.end, entry.name);
  });
  TensorViews views;
  std::uint64_t end = 0;
  for (HeaderEntry& entry : entries) {
    check_size(entry, path);
    if (entry.begin != end) {
      throw FileError(
          path + " must hold " + in_quotes(entry.name) + " from byte " + std::to_string(end) +
          " of its data on, where the tensor before it ends, got " + std::to_string(entry.begin));
    }
    end = entry.end;
    if (end > data.size()) {
      throw FileError(path + " must hold " + in_quotes(entry.name) + " up to byte " +
                      std::to_string(end) + " of its data, got " + std::to_string(data.size()));
    }
    const auto bytes = data.subspan(entry.begin, end - entry.begin);
    views.emplace(std::move(entry.name), TensorView{entry.dtype, std::move(entry.shape), bytes});
  }
  if (end != data.size()) {
    throw FileError(path + " must end with its last tensor, " + std::to_string(end) +
                    " bytes of data, got " + std::to_string(data.size()));
  }
  return views;
}

}  // namespace roformer_ext::io
