#pragma once

#include <filesystem>
#include <functional>

namespace longrope {

/// Calls `build` with an empty folder beside `out` and renames it to `out` when it returns: a whole folder or none,
/// also after a power loss. When `build` throws, what it wrote is removed; what a process wrote that was killed, by the
/// next one that builds `out`. Of several at a time the first that is done is kept, the others fail; they must run on
/// one machine, since the lock of a folder does not reach others. Throws InputError unless `out` does not exist or is
/// an empty folder, Error when the file system fails.
void write_folder_atomically(const std::filesystem::path& out,
                             const std::function<void(const std::filesystem::path&)>& build);

/// A hard link to the content of `from` (what symbolic links lead to), or a copy where the file system cannot link.
/// Throws std::filesystem::filesystem_error.
void link_or_copy(const std::filesystem::path& from, const std::filesystem::path& to);

/// Throws InputError unless `out` does not exist or is an empty folder.
void require_free_folder(const std::filesystem::path& out);
/// Absolute, and without a trailing slash, so that a name can be made of it.
[[nodiscard]] std::filesystem::path plain_folder(const std::filesystem::path& folder);

}  // namespace longrope
