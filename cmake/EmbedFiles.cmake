# longrope_embed_files(<target> <header> <function> <file>…)
# Compiles files into <target>, so that the binary needs none beside it:
#   std::span<const EmbeddedFile> <function>(), declared in <header>, has them in the order given
#   (common/files/embedded_file.h).
#
# longrope_embed_migrations(<target> <header> <function> <folder>)
# Compiles the migrations <folder>/NNNN_name.sql so, in the order of their numbers: 0001, 0002, … without gaps.
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

function(longrope_embed_migrations target header function folder)
  file(GLOB sql_files CONFIGURE_DEPENDS "${folder}/*.sql")
  list(SORT sql_files)
  if(NOT sql_files)
    message(FATAL_ERROR "a database needs at least one migration: ${folder} has no .sql file")
  endif()
  set(expected 1)
  foreach(sql_file IN LISTS sql_files)
    get_filename_component(stem "${sql_file}" NAME_WE)
    if(NOT stem MATCHES "^([0-9][0-9][0-9][0-9])_([a-z0-9_]+)$")
      message(FATAL_ERROR "a migration must be called NNNN_name.sql: ${sql_file}")
    endif()
    math(EXPR version "1${CMAKE_MATCH_1} - 10000")
    if(NOT version EQUAL expected)
      message(FATAL_ERROR "migrations must be numbered without gaps: expected ${expected}, found ${sql_file}")
    endif()
    math(EXPR expected "${expected} + 1")
  endforeach()
  longrope_embed_files(${target} "${header}" ${function} ${sql_files})
endfunction()

if(CMAKE_SCRIPT_MODE_FILE STREQUAL CMAKE_CURRENT_LIST_FILE)
  string(REPLACE "|" ";" files "${FILES}")
  list(LENGTH files count)
  file(WRITE "${OUTPUT}.new" "// Written by cmake/EmbedFiles.cmake.\n#include \"${HEADER}\"\n\n#include <array>\n\n"
    "#ifdef __clang__\n#pragma clang diagnostic ignored \"-Woverlength-strings\"\n#endif\n\n"
    "namespace longrope {\n\nstd::span<const EmbeddedFile> ${FUNCTION}() {\n"
    "  static const std::array<EmbeddedFile, ${count}> kFiles = {{\n")
  foreach(file IN LISTS files)
    get_filename_component(name "${file}" NAME)
    file(READ "${file}" content)
    string(FIND "${content}" ")embed\"" terminator)
    if(NOT terminator EQUAL -1)
      message(FATAL_ERROR "the text )embed\" cannot be embedded: ${file}")
    endif()
    file(APPEND "${OUTPUT}.new" "      {\"${name}\", R\"embed(" "${content}" ")embed\"},\n")
  endforeach()
  file(APPEND "${OUTPUT}.new" "  }};\n  return kFiles;\n}\n\n}  // namespace longrope\n")
  file(RENAME "${OUTPUT}.new" "${OUTPUT}")
endif()
