#include "common/write_folder.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>

#include <fmt/format.h>

#include "common/error.h"

namespace longrope {
namespace {

namespace fs = std::filesystem;

/// Removes what was built unless it was renamed into place.
class UnfinishedDirectory {
 public:
  explicit UnfinishedDirectory(const fs::path& out) : path_(fmt::format("{}.unfinished-{}", out.string(), ::getpid())) {
    if (!fs::create_directory(path_)) throw Error(fmt::format("folder must not exist: {}", path_.string()));
  }
  ~UnfinishedDirectory() {
    std::error_code ignored;
    if (!renamed_) fs::remove_all(path_, ignored);
  }
  UnfinishedDirectory(const UnfinishedDirectory&) = delete;
  UnfinishedDirectory& operator=(const UnfinishedDirectory&) = delete;

  [[nodiscard]] const fs::path& path() const { return path_; }

  void rename_to(const fs::path& out) {
    // Copies may still be in memory only; after a power loss the new name must not stand for empty files.
    const int descriptor = ::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const bool synced = descriptor >= 0 && ::syncfs(descriptor) == 0;
    const int cause = errno;
    if (descriptor >= 0) ::close(descriptor);
    if (!synced) throw Error(fmt::format("cannot sync a folder: {} ({})", std::strerror(cause), path_.string()));
    fs::rename(path_, out);
    renamed_ = true;
  }

 private:
  fs::path path_;
  bool renamed_ = false;
};

}  // namespace

void write_folder_atomically(const fs::path& out, const std::function<void(const fs::path&)>& build) {
  try {
    require_free_folder(out);
    const fs::path destination = plain_folder(out);
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
