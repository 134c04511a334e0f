#pragma once

namespace longrope {

/// One callable out of several, for std::visit: a lambda for each alternative.
template <class... F>
struct Overloaded : F... {
  using F::operator()...;
};

}  // namespace longrope
