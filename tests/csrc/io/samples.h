// Small files for the tests of this floor, built in memory or in a folder that goes away.
//
// The idea: a test writes the header that it means, and what follows it, in one line. What must
// stay true: bytes handed to a reader lie in memory of exactly their size, so that AddressSanitizer
// sees a read beyond their end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "io/safetensors.h"

namespace roformer_ext::io::testing {

// A safetensors file: length, header and `bytes` bytes of data that count up from 1.
inline std::string file_of(const std::string& header, std::size_t bytes) {
  std::string file;
  for (int shift = 0; shift < 64; shift += 8) {
    file += static_cast<char>(static_cast<std::uint64_t>(header.size()) >> shift);
  }
  file += header;
  for (std::size_t index = 1; index <= bytes; ++index) file += static_cast<char>(index);
  return file;
}

// One tensor of a header.
inline std::string entry(const std::string& name, const std::string& dtype,
                         const std::string& shape, const std::string& offsets) {
  return '"' + name + R"(":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" +
         offsets + "}";
}

// A valid file with a scalar, a matrix, an empty tensor and metadata.
inline std::string valid_file() {
  return file_of(R"({"__metadata__":{"format":"pt"},)" + entry("b", "F32", "[2,1]", "[2,10]") +
                     "," + entry("a", "BF16", "[]", "[0,2]") + "," +
                     entry("none", "I64", "[0,3]", "[10,10]") + "}  ",
                 10);
}

// What `parse_safetensors` makes of a copy of `file`, every byte of it read.
inline std::size_t parse_copy(const std::string& file) {
  const auto* begin = reinterpret_cast<const std::byte*>(file.data());
  const std::vector<std::byte> copy(begin, begin + file.size());
  std::size_t sum = 0;
  for (const auto& [name, view] : parse_safetensors(copy, "x.safetensors")) {
    std::uint64_t wanted = width_of(view.dtype);
    for (const auto size : view.shape) wanted *= static_cast<std::uint64_t>(size);
    if (view.bytes.size() != wanted) throw std::logic_error("a view of the wrong size");
    for (const auto byte : view.bytes) sum += std::to_integer<std::size_t>(byte);
  }
  return sum;
}

// A folder of its own, removed at the end.
class Folder {
 public:
  Folder()
      : path_(std::filesystem::temp_directory_path() /
              ("roformer_ext_io_" + std::to_string(std::random_device{}()))) {
    std::filesystem::create_directories(path_);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  // Writes a file and returns where.
  std::string write(const std::string& name, const std::string& content) const {
    std::ofstream(path_ / name, std::ios::binary) << content;
    return (path_ / name).string();
  }
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

}  // namespace roformer_ext::io::testing
