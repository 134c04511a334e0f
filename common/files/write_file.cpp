#include "common/files/write_file.h"

#include "common/error.h"

#include <fmt/format.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <system_error>

namespace longrope {
namespace {

[[noreturn]] void fail(std::string_view action, const std::filesystem::path& path) {
  const int cause = errno;
  throw Error(fmt::format("cannot {}: {} ({})", action, std::strerror(cause), path.string()));
}

/// Removes the temporary unless it was renamed into place.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::filesystem::path& final_path) : name_(final_path.string() + ".XXXXXX") {
    descriptor_ = ::mkostemp(name_.data(), O_CLOEXEC);
    if (descriptor_ < 0) fail("create a temporary file", name_);
  }
  ~TemporaryFile() {
    if (descriptor_ >= 0) ::close(descriptor_);
    if (!renamed_) ::unlink(name_.c_str());
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  void append(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t written = ::write(descriptor_, bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) fail("write", name_);
      bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
  }

  void rename_to(const std::filesystem::path& final_path) {
    // mkostemp gives 0600, which would hide results from the group that shares a cluster directory.
    if (::fchmod(descriptor_, permissions_for(final_path)) != 0) fail("set permissions", name_);
    if (::fsync(descriptor_) != 0) fail("sync", name_);
    // A network file system may report a failed write only here.
    const int closed = ::close(descriptor_);
    descriptor_ = -1;
    if (closed != 0) fail("close", name_);
    if (::rename(name_.c_str(), final_path.c_str()) != 0) fail("rename into place", final_path);
    renamed_ = true;
  }

 private:
  static mode_t permissions_for(const std::filesystem::path& final_path) {
    constexpr mode_t kPermissionBits = 07777;
    constexpr mode_t kNewFile = 0666;
    struct stat existing{};
    if (::stat(final_path.c_str(), &existing) == 0) return existing.st_mode & kPermissionBits;
    return kNewFile & ~file_creation_mask();
  }
  static mode_t file_creation_mask() {
    // umask(2) can only be read by setting it: done once, before threads can race on it in practice.
    static const mode_t mask = [] {
      const mode_t current = ::umask(0);
      ::umask(current);
      return current;
    }();
    return mask;
  }

  std::string name_;
  int descriptor_ = -1;
  bool renamed_ = false;
};

void sync_directory(const std::filesystem::path& directory) {
  const std::string name = directory.empty() ? "." : directory.string();
  const int descriptor = ::open(name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) fail("open directory", name);
  const int synced = ::fsync(descriptor);
  const int cause = errno;
  ::close(descriptor);
  errno = cause;
  // Some network file systems cannot sync directories and say EINVAL; the rename itself is atomic there too.
  if (synced != 0 && errno != EINVAL) fail("sync directory", name);
}

}  // namespace

void write_file_atomically(const std::filesystem::path& path, const std::function<void(const AppendBytes&)>& produce) {
  TemporaryFile temporary(path);
  produce([&temporary](std::span<const std::byte> bytes) { temporary.append(bytes); });
  temporary.rename_to(path);
  sync_directory(path.parent_path());
}

void write_file_atomically(const std::filesystem::path& path, std::span<const std::byte> content) {
  write_file_atomically(path, [content](const AppendBytes& append) { append(content); });
}

void write_file_atomically(const std::filesystem::path& path, std::string_view content) {
  write_file_atomically(path, std::as_bytes(std::span(content)));
}

void require_writable_place(const std::filesystem::path& file) {
  std::error_code ignored;  // a path that cannot be examined counts as no directory
  if (!file.has_filename() || std::filesystem::is_directory(file, ignored)) {
    throw InputError(fmt::format("an output must be a file, not a directory: {}", file.string()));
  }
  const std::filesystem::path directory = file.has_parent_path() ? file.parent_path() : ".";
  if (!std::filesystem::is_directory(directory, ignored)) {
    throw InputError(fmt::format("the directory of an output must exist: {} ({})", directory.string(), file.string()));
  }
  if (::access(directory.c_str(), W_OK | X_OK) != 0) {
    const int cause = errno;
    throw InputError(fmt::format("the directory of an output must be writable: {}: {} ({})", directory.string(),
                                 std::strerror(cause), file.string()));
  }
}

}  // namespace longrope
