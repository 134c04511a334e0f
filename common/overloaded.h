#pragma once

namespace longrope {

/// One callable out of several, for std::visit: a lambda for each alternative.
template <class... F>
struct Overloaded : F... {
  using F::operator()...;
};
template <class... F>
Overloaded(F...) -> Overloaded<F...>;  // for compilers without deduction of aggregates, such as Clang 14

}  // namespace longrope
