# longrope_options: what every target of the project is compiled with.

option(LONGROPE_WARNINGS_AS_ERRORS "Treat compiler warnings as errors" OFF)
set(LONGROPE_SANITIZE "" CACHE STRING "Sanitizers, separated by commas: address,undefined or thread")

add_library(longrope_options INTERFACE)
target_compile_features(longrope_options INTERFACE cxx_std_20)
target_include_directories(longrope_options INTERFACE "${PROJECT_SOURCE_DIR}")
target_compile_options(longrope_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wnon-virtual-dtor
  # A designated initializer names what differs from the default.
  -Wno-missing-field-initializers
  # A fused multiply-add rounds once instead of twice, so a search would differ between processors.
  -ffp-contract=off)

# Each function in a section of its own, so that the linker can drop what nothing reaches: tools/lint.py --functions
# names what both programs lack. Sanitizers put tables beside the sections, which the linker must not part from them.
if(NOT LONGROPE_SANITIZE)
  target_compile_options(longrope_options INTERFACE -ffunction-sections -fdata-sections)
  target_link_options(longrope_options INTERFACE -Wl,--gc-sections)
endif()

if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  target_compile_options(longrope_options INTERFACE -Wthread-safety)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # GCC 12 warns about its own std::string when optimising (gcc.gnu.org/PR105651).
  target_compile_options(longrope_options INTERFACE -Wno-restrict)
endif()
if(LONGROPE_WARNINGS_AS_ERRORS)
  target_compile_options(longrope_options INTERFACE -Werror)
endif()

if(LONGROPE_SANITIZE)
  if(NOT LONGROPE_SANITIZE MATCHES "^(address|undefined|thread)(,(address|undefined|thread))*$")
    message(FATAL_ERROR "LONGROPE_SANITIZE must list address, undefined or thread: ${LONGROPE_SANITIZE}")
  endif()
  target_compile_options(longrope_options INTERFACE
    -fsanitize=${LONGROPE_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(longrope_options INTERFACE -fsanitize=${LONGROPE_SANITIZE})
endif()
