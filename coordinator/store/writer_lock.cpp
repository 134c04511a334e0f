#include "coordinator/store/writer_lock.h"

#include "common/error.h"

#include <fmt/format.h>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <system_error>

namespace longrope {
namespace {

constexpr mode_t kLockFileMode = 0666;
constexpr std::size_t kMaxProcessIdDigits = 20;

std::string owner(int descriptor) {
  std::array<char, kMaxProcessIdDigits> text{};
  const ssize_t read = ::pread(descriptor, text.data(), text.size(), 0);
  std::string digits;
  for (ssize_t i = 0; i < read && text[static_cast<std::size_t>(i)] >= '0' && text[static_cast<std::size_t>(i)] <= '9';
       ++i) {
    digits += text[static_cast<std::size_t>(i)];
  }
  return digits.empty() ? "(unknown)" : digits;
}

}  // namespace

WriterLock::WriterLock(const std::filesystem::path& database) {
  std::error_code error;
  const std::filesystem::path real = std::filesystem::weakly_canonical(database, error);
  if (error) throw Error(fmt::format("cannot find the database: {} ({})", error.message(), database.string()));
  const std::string file = real.string() + ".lock";
  descriptor_ = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, kLockFileMode);
  if (descriptor_ < 0) throw Error(fmt::format("cannot open the lock: {} ({})", std::strerror(errno), file));
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
    const int cause = errno;
    const std::string process = owner(descriptor_);
    ::close(descriptor_);
    if (cause != EWOULDBLOCK) throw Error(fmt::format("cannot take the lock: {} ({})", std::strerror(cause), file));
    throw InputError(fmt::format("database {} is in use by coordinator process {}", database.string(), process));
  }
  const std::string process = fmt::format("{}\n", ::getpid());
  // Only for the message: a full disk must not keep the search from reading what it has.
  if (::ftruncate(descriptor_, 0) == 0) {
    [[maybe_unused]] const ssize_t written = ::pwrite(descriptor_, process.data(), process.size(), 0);
  }
}

WriterLock::~WriterLock() { ::close(descriptor_); }

}  // namespace longrope
