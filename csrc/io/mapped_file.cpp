// The mapping by POSIX.
#include "io/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "io/file_error.h"

namespace roformer_ext::io {
namespace {

class Descriptor {
 public:
  // Non-blocking, because a pipe under this name would wait for a writer.
  explicit Descriptor(const char* path) : number(open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {}
  ~Descriptor() {
    if (number >= 0) close(number);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  const int number;
};

[[noreturn]] void refuse(const std::string& path) {
  const std::string reason = std::generic_category().message(errno);
  throw FileError(path + " must be a file that can be read, got: " + reason);
}

}  // namespace

MappedFile::MappedFile(const std::string& path) {
  const Descriptor file(path.c_str());
  struct stat status{};
  if (file.number < 0 || fstat(file.number, &status) != 0) refuse(path);
  if (!S_ISREG(status.st_mode)) throw FileError(path + " must be a regular file");
  const auto size = static_cast<std::size_t>(status.st_size);
  if (size == 0) return;  // which cannot be mapped
  void* begin = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.number, 0);
  if (begin == MAP_FAILED) refuse(path);
  bytes_ = {static_cast<const std::byte*>(begin), size};
}

MappedFile::MappedFile(MappedFile&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

}  // namespace roformer_ext::io
