#pragma once

#include <string>

namespace longrope {

/// A perplexity for people, in four digits: "2.410", "61.96", "3021", from a million on "3.02e+06".
[[nodiscard]] std::string perplexity_text(double perplexity);

}  // namespace longrope
