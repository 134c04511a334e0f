#pragma once

#include <stdexcept>

namespace longrope {

/// The work cannot continue (database, network, device). Caught once, in `main`: exit code 1.
/// Messages state the rule, then the value, then the place: `lease_timeout must be positive: -5 (demo.toml:12)`.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Input from a user, a file or a peer that breaks a rule. Nothing was changed. Exit code 2.
class InputError : public Error {
 public:
  using Error::Error;
};

}  // namespace longrope
