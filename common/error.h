#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace longrope {

/// `text` as one line that a terminal only shows: control characters are written as `\u001b`, line breaks and tabs as a
/// space. For text of peers, databases and files, which could otherwise move the cursor or forge what stands beside it.
/// Everything else stays as it is, bytes that are no UTF-8 too.
[[nodiscard]] std::string printable_text(std::string_view text);

/// The work cannot continue (database, network, device). Caught once, in `run_program`: exit code 1.
/// The message says what failed, then the cause: `cannot write to standard output: No space left on device`.
/// Messages may quote hostile values and go to terminals and logs: they are made printable, and the middle of a message
/// of more than 2,000 bytes is left out.
class Error : public std::runtime_error {
 public:
  explicit Error(std::string_view message);
};

/// Input from a user, a file or a peer that breaks a rule. Nothing was changed. Exit code 2.
/// The message states the rule, then the value, then the place: `lease_timeout must be positive: -5 (demo.toml:12)`.
class InputError : public Error {
 public:
  using Error::Error;
};

/// There is not enough memory, or would not be by an estimate that was made before anything was allocated. Exit code 1.
class MemoryError : public Error {
 public:
  using Error::Error;
};

}  // namespace longrope
