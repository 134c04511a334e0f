# longrope_fuzz_target(<name>)
# A libFuzzer program <name>_fuzz from <name>_fuzz.cpp, and a test of the same name: first every input in corpus/<name>,
# then new ones until LONGROPE_FUZZ_SECONDS have passed in all. An input that fails is written to
# <build>/failures/<name>-…; give it to the program as its only argument to see the failure again. Inputs that
# reach new code are kept in <build>/found/<name> for the next run.

set(LONGROPE_FUZZ_SECONDS 60 CACHE STRING "Seconds that each fuzz target runs as a test")

if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  message(FATAL_ERROR "fuzz targets need Clang, for libFuzzer: ${CMAKE_CXX_COMPILER_ID} (use the preset fuzz)")
endif()
# Every file is instrumented, so that the fuzzer sees which of our code an input reaches. Clang leaves conversions of
# floating-point numbers that do not fit out of "undefined".
target_compile_options(longrope_options INTERFACE
  -fsanitize=fuzzer-no-link,float-cast-overflow -fno-sanitize-recover=all)
target_link_options(longrope_options INTERFACE -fsanitize=float-cast-overflow)

# Inputs are at most 16 KiB, so nothing that a reader does with one needs much memory: whoever allocates by a length
# that the input merely claims (a header's may be 100 MB, a frame's 64 MiB) goes far beyond. The largest rightful block
# is MessagePack's array of 65,536 elements of 24 bytes, 1.5 MiB, which needs no more than a header of three bytes.
# In all the programs take 106 MB after some 80,000 inputs, of which 32 are freed blocks that the address sanitizer holds
# back (quarantine_size_mb, in the test preset).
set(LONGROPE_FUZZ_LIMITS -max_len=16384 -malloc_limit_mb=4 -rss_limit_mb=256 -timeout=10)

function(longrope_fuzz_target name)
  set(target ${name}_fuzz)
  add_executable(${target} ${target}.cpp fuzz_target.cpp)
  target_link_libraries(${target} PRIVATE longrope_options longrope_config longrope_engines longrope_evaluation)
  target_link_options(${target} PRIVATE -fsanitize=fuzzer)

  set(found "${PROJECT_BINARY_DIR}/found/${name}")
  set(failures "${PROJECT_BINARY_DIR}/failures")
  file(MAKE_DIRECTORY "${found}" "${failures}")
  add_test(NAME ${target}
    COMMAND ${target} ${LONGROPE_FUZZ_LIMITS} -max_total_time=${LONGROPE_FUZZ_SECONDS} -print_final_stats=1
      "-artifact_prefix=${failures}/${name}-" "${found}" "${CMAKE_CURRENT_SOURCE_DIR}/corpus/${name}")
  math(EXPR timeout "${LONGROPE_FUZZ_SECONDS} + 120")
  set_tests_properties(${target} PROPERTIES LABELS fuzz TIMEOUT ${timeout})
endfunction()
