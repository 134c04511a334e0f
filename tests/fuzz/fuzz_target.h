#pragma once

#include <filesystem>
#include <string_view>

namespace longrope {

/// What a fuzz target consists of: gives one hostile input to one reader. An InputError is the right answer to it; any
/// other exception is a fault, as is a result that breaks a promise of the reader (`require_promise`).
void read_hostile_input(std::string_view input);

/// A folder of this process, in memory where the machine has such a file system; removed at exit.
[[nodiscard]] const std::filesystem::path& fuzz_folder();

/// The path of `name` in the folder, a file that now holds exactly `content`.
std::filesystem::path hostile_file(std::string_view name, std::string_view content);

/// Ends the process with a report when `kept` is false.
void require_promise(bool kept, std::string_view promise);

}  // namespace longrope
