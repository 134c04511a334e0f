#include "common/files/write_folder.h"

#include "common/error.h"

#include <fmt/format.h>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <string_view>
#include <system_error>

namespace longrope {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kUnfinished = ".unfinished-";
constexpr std::size_t kTokenDigits = 16;

/// A random name, because a process in a container always has the id 1.
std::string unfinished_name(const fs::path& out) {
  std::random_device random;
  const std::uint64_t token = std::uint64_t{random()} << 32U | random();
  return fmt::format("{}{}{:0{}x}", out.string(), kUnfinished, token, kTokenDigits);
}

bool is_unfinished_name(const std::string& name, const fs::path& out) {
  const std::string beginning = fmt::format("{}{}", out.filename().string(), kUnfinished);
  return name.starts_with(beginning) && name.size() == beginning.size() + kTokenDigits &&
         name.find_first_not_of("0123456789abcdef", beginning.size()) == std::string::npos;
}

int open_folder(const fs::path& folder) {
  return ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/// Locks the folder until the descriptor is closed or the process dies. Returns false also where folders cannot be
/// locked, as on NFS; there nobody removes abandoned folders.
bool lock(int folder) { return ::flock(folder, LOCK_EX | LOCK_NB) == 0; }

/// Removes the folders of processes that were killed while they built `out`.
void remove_abandoned(const fs::path& out) {
  std::error_code ignored;  // what cannot be removed costs space, not the work
  for (const fs::directory_entry& entry : fs::directory_iterator(out.parent_path(), ignored)) {
    if (!is_unfinished_name(entry.path().filename().string(), out)) continue;
    const int folder = open_folder(entry.path());
    if (folder < 0) continue;
    if (lock(folder)) fs::remove_all(entry.path(), ignored);  // its builder is dead
    ::close(folder);
  }
}

/// A new folder beside `out`, removed with its content unless it is renamed to `out`.
class UnfinishedDirectory {
 public:
  explicit UnfinishedDirectory(const fs::path& out) : path_(unfinished_name(out)) {
    if (!fs::create_directory(path_)) {
      throw Error(fmt::format("cannot create a folder: it exists ({})", path_.string()));
    }
    descriptor_ = open_folder(path_);
    if (descriptor_ < 0) {
      throw Error(fmt::format("cannot open a folder: {} ({})", std::strerror(errno), path_.string()));
    }
    static_cast<void>(lock(descriptor_));
  }
  ~UnfinishedDirectory() {
    std::error_code ignored;
    if (!renamed_) fs::remove_all(path_, ignored);
    ::close(descriptor_);
  }
  UnfinishedDirectory(const UnfinishedDirectory&) = delete;
  UnfinishedDirectory& operator=(const UnfinishedDirectory&) = delete;

  [[nodiscard]] const fs::path& path() const { return path_; }

  void rename_to(const fs::path& out) {
    // Copies may still be in memory only; after a power loss the new name must not stand for empty files.
    if (::syncfs(descriptor_) != 0) {
      throw Error(fmt::format("cannot sync a folder: {} ({})", std::strerror(errno), path_.string()));
    }
    fs::rename(path_, out);
    renamed_ = true;
  }

 private:
  fs::path path_;
  int descriptor_ = -1;  // holds the lock
  bool renamed_ = false;
};

}  // namespace

void write_folder_atomically(const fs::path& out, const std::function<void(const fs::path&)>& build) {
  try {
    require_free_folder(out);
    const fs::path destination = plain_folder(out);
    remove_abandoned(destination);
    UnfinishedDirectory unfinished(destination);
    build(unfinished.path());
    unfinished.rename_to(destination);
  } catch (const fs::filesystem_error& failure) {
    throw Error(fmt::format("cannot write the folder: {} ({})", failure.what(), out.string()));
  }
}

void link_or_copy(const fs::path& from, const fs::path& to) {
  // Entries of the Hugging Face cache are symbolic links; a hard link to such a link would dangle when the cache goes.
  const fs::path content = fs::canonical(from);
  std::error_code cannot_link;
  fs::create_hard_link(content, to, cannot_link);
  if (cannot_link) fs::copy_file(content, to);
}

void require_free_folder(const fs::path& out) {
  std::error_code ignored;
  if (fs::exists(out, ignored) && !(fs::is_directory(out, ignored) && fs::is_empty(out, ignored))) {
    throw InputError(fmt::format("a folder to write must not exist or be empty: {}", out.string()));
  }
}

fs::path plain_folder(const fs::path& folder) { return fs::absolute(folder / "").lexically_normal().parent_path(); }

}  // namespace longrope
