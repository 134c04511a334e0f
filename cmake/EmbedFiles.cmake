# longrope_embed_files(<target> <header> <function> <file>…)
# Compiles files into <target>, so that the binary needs none beside it. They are read by the last part of their names:
#   std::string_view <function>(std::string_view name), declared in <header>; throws std::out_of_range for another name.
#
# Run as a script (cmake -DOUTPUT=… -DHEADER=… -DFUNCTION=… -DFILES=… -P) this file writes the C++ source.

set(LONGROPE_EMBED_FILES_SCRIPT "${CMAKE_CURRENT_LIST_FILE}")

function(longrope_embed_files target header function)
  set(output "${CMAKE_CURRENT_BINARY_DIR}/${function}.cpp")
  string(JOIN "|" joined ${ARGN})  # a semicolon would not survive the command line
  add_custom_command(
    OUTPUT "${output}"
    COMMAND "${CMAKE_COMMAND}" "-DOUTPUT=${output}" "-DHEADER=${header}" "-DFUNCTION=${function}" "-DFILES=${joined}"
      -P "${LONGROPE_EMBED_FILES_SCRIPT}"
    DEPENDS ${ARGN} "${LONGROPE_EMBED_FILES_SCRIPT}"
    COMMENT "Embedding ${function}" VERBATIM)
  target_sources(${target} PRIVATE "${output}")
endfunction()

if(CMAKE_SCRIPT_MODE_FILE STREQUAL CMAKE_CURRENT_LIST_FILE)
  string(REPLACE "|" ";" files "${FILES}")
  file(WRITE "${OUTPUT}.new" "// Written by cmake/EmbedFiles.cmake.\n#include \"${HEADER}\"\n\n#include <map>\n\n"
    "#ifdef __clang__\n#pragma clang diagnostic ignored \"-Woverlength-strings\"\n#endif\n\n"
    "namespace longrope {\n\nstd::string_view ${FUNCTION}(std::string_view name) {\n"
    "  static const std::map<std::string_view, std::string_view> kFiles = {\n")
  foreach(file IN LISTS files)
    get_filename_component(name "${file}" NAME)
    file(READ "${file}" content)
    string(FIND "${content}" ")embed\"" terminator)
    if(NOT terminator EQUAL -1)
      message(FATAL_ERROR "the text )embed\" cannot be embedded: ${file}")
    endif()
    file(APPEND "${OUTPUT}.new" "      {\"${name}\", R\"embed(" "${content}" ")embed\"},\n")
  endforeach()
  file(APPEND "${OUTPUT}.new" "  };\n  return kFiles.at(name);\n}\n\n}  // namespace longrope\n")
  file(RENAME "${OUTPUT}.new" "${OUTPUT}")
endif()
