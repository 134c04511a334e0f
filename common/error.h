#pragma once

#include <stdexcept>
#include <string_view>

namespace longrope {

/// The work cannot continue (database, network, device). Caught once, in `main`: exit code 1.
/// Messages state the rule, then the value, then the place: `lease_timeout must be positive: -5 (demo.toml:12)`.
/// Values may be hostile and messages go to terminals and logs: control characters are written as `\u001b`, line breaks
/// as a space, and the middle of a message of more than 2,000 bytes is left out.
class Error : public std::runtime_error {
 public:
  explicit Error(std::string_view message);
};

/// Input from a user, a file or a peer that breaks a rule. Nothing was changed. Exit code 2.
class InputError : public Error {
 public:
  using Error::Error;
};

/// Memory does not suffice, or would not by an estimate made before anything was allocated.
class MemoryError : public Error {
 public:
  using Error::Error;
};

}  // namespace longrope
