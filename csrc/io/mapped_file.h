// A file in memory: its bytes as they lie on the disk, read when they are used.
//
// The idea: a reader checks and views, and only who wants to keep something copies it. What must
// stay true: the bytes live as long as the object, and nothing is written through them. A file that
// another process shortens meanwhile ends the program (SIGBUS), as with every mapping.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace roformer_ext::io {

class MappedFile {
 public:
  // FileError where `path` is no regular file, or one that cannot be read.
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  MappedFile& operator=(MappedFile&&) = delete;

  std::span<const std::byte> bytes() const { return bytes_; }
  std::string_view text() const {
    return {reinterpret_cast<const char*>(bytes_.data()), bytes_.size()};
  }

 private:
  std::span<const std::byte> bytes_;
};

}  // namespace roformer_ext::io
