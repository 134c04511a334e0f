#pragma once

#include <filesystem>
#include <functional>

namespace longrope {

/// Calls `build` with an empty folder beside `out` and renames it to `out` when `build` returns: a whole folder or
/// none, also after a power loss. What `build` wrote is removed when it throws; what a killed process wrote is removed
/// by the next one that builds `out`. When several processes build `out` at a time, the first to finish is kept and the
/// others fail; they must run on one machine, because the lock that tells a live builder from a dead one does not reach
/// further. Throws InputError unless `out` does not exist or is an empty folder, Error when the file system fails.
void write_folder_atomically(const std::filesystem::path& out,
                             const std::function<void(const std::filesystem::path&)>& build);

/// A hard link to the content of `from` (what symbolic links lead to), or a copy where the file system cannot link.
/// Throws std::filesystem::filesystem_error.
void link_or_copy(const std::filesystem::path& from, const std::filesystem::path& to);

/// Throws InputError unless `out` does not exist or is an empty folder.
void require_free_folder(const std::filesystem::path& out);
/// `folder` as an absolute path without a trailing slash, so that names can be derived from it.
[[nodiscard]] std::filesystem::path plain_folder(const std::filesystem::path& folder);

}  // namespace longrope
