# longrope_test(<name> [LABEL <unit|torch|gpu|system>] SOURCES <file>… LIBS <target>…)
# A GoogleTest program: one for each room, every *_test.cpp listed. LABEL is unit by default.
#
# longrope_python_test(<name> [LABEL …] FILE <file>)
# A pytest file, run with the project's environment (.venv). Without that environment it is left out, aloud. A case
# that cannot run on this machine skips with a reason that begins with "NOT RUN: "; ctest's summary then names the file,
# unless another of its cases failed: that is a failure.

set(LONGROPE_TEST_TIMEOUT_SECONDS 300)
set(LONGROPE_SYSTEM_TEST_TIMEOUT_SECONDS 1800)  # many processes on few cores, maybe beside other tests

function(longrope_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "LABEL" "SOURCES;LIBS")
  if(NOT arg_LABEL)
    set(arg_LABEL unit)
  endif()
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE longrope_options ${arg_LIBS} GTest::gmock GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE LONGROPE_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  # The assertions of a test cost minutes of optimisation and gain nothing by it; what they test is optimised.
  target_compile_options(${name} PRIVATE -O0)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/tests")
  gtest_discover_tests(${name} DISCOVERY_TIMEOUT 60
    PROPERTIES LABELS ${arg_LABEL} TIMEOUT ${LONGROPE_TEST_TIMEOUT_SECONDS})
endfunction()

function(longrope_python_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "LABEL;FILE" "")
  if(NOT arg_LABEL)
    set(arg_LABEL unit)
  endif()
  if(NOT EXISTS "${LONGROPE_PYTHON}")
    message(WARNING "${name} is left out: ${LONGROPE_PYTHON} does not exist (tools/install_dependencies.sh makes it)")
    return()
  endif()
  # -p no:cacheprovider: the source tree stays as it is.
  add_test(NAME ${name}
    COMMAND "${LONGROPE_PYTHON}" -B -m pytest -q -rs -p no:cacheprovider "${CMAKE_CURRENT_SOURCE_DIR}/${arg_FILE}"
    WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}")
  set(timeout ${LONGROPE_TEST_TIMEOUT_SECONDS})
  if(arg_LABEL STREQUAL "system")
    set(timeout ${LONGROPE_SYSTEM_TEST_TIMEOUT_SECONDS})
  endif()
  # Pytest's last line names failures first and errors last; ctest takes a match for a skip whatever the exit code is.
  set(skipped_alone "NOT RUN: .*\n([0-9]+ passed, )?[0-9]+ skipped(, [0-9]+ warnings?)? in ")
  set_tests_properties(${name} PROPERTIES LABELS ${arg_LABEL} TIMEOUT ${timeout}
    SKIP_REGULAR_EXPRESSION "${skipped_alone}"
    ENVIRONMENT "LONGROPE_SOURCE_DIR=${PROJECT_SOURCE_DIR};LONGROPE_BINARY_DIR=${CMAKE_RUNTIME_OUTPUT_DIRECTORY}")
endfunction()
