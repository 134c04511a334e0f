#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <span>
#include <string_view>

namespace longrope {

/// Puts `content` at `path` whole or not at all: writes a temporary beside it, syncs, renames over `path`, syncs the
/// directory. An existing file keeps its permissions; a new one gets 0666 less the umask. Throws Error naming path and
/// cause (no such directory, disk full, read-only); the old file is then untouched and the temporary gone.
/// Thread-safe, also for one path: the last writer wins.
void write_file_atomically(const std::filesystem::path& path, std::span<const std::byte> content);
void write_file_atomically(const std::filesystem::path& path, std::string_view content);

/// The same for content too large to hold in one piece: `produce` calls its argument with the bytes, part by part.
using AppendBytes = std::function<void(std::span<const std::byte>)>;
void write_file_atomically(const std::filesystem::path& path, const std::function<void(const AppendBytes&)>& produce);

/// For a command that computes for a long time before it writes: throws InputError naming `file` unless its directory
/// exists and may be written to, and `file` is no directory. Creates nothing; the disk may still be full later.
void require_writable_place(const std::filesystem::path& file);

}  // namespace longrope
