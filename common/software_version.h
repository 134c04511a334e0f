#pragma once

#include <string_view>

namespace longrope {

/// Written into databases, workers' rows and exports; CMakeLists.txt holds the number.
inline constexpr std::string_view kSoftwareVersion = LONGROPE_VERSION;

}  // namespace longrope
