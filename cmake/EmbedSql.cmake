# longrope_embed_migrations(<target> <folder> <function>)
# Compiles the migrations <folder>/NNNN_name.sql into <target> as longrope::<function>(), declared in
# coordinator/store/migrations.h, so that the binary needs no files beside it. Numbers run 0001, 0002, … without gaps.
#
# Run as a script (cmake -DOUTPUT=… -DSQL_FILES=… -DFUNCTION=… -P) this file writes the C++ source.

set(LONGROPE_EMBED_SQL_SCRIPT "${CMAKE_CURRENT_LIST_FILE}")

function(longrope_embed_migrations target folder function)
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

  set(output "${CMAKE_CURRENT_BINARY_DIR}/${function}.cpp")
  string(JOIN "|" joined ${sql_files})  # a semicolon would not survive the command line
  add_custom_command(
    OUTPUT "${output}"
    COMMAND "${CMAKE_COMMAND}" "-DOUTPUT=${output}" "-DSQL_FILES=${joined}" "-DFUNCTION=${function}" -P "${LONGROPE_EMBED_SQL_SCRIPT}"
    DEPENDS ${sql_files} "${LONGROPE_EMBED_SQL_SCRIPT}"
    COMMENT "Embedding SQL migrations" VERBATIM)
  target_sources(${target} PRIVATE "${output}")
endfunction()

if(CMAKE_SCRIPT_MODE_FILE STREQUAL CMAKE_CURRENT_LIST_FILE)
  string(REPLACE "|" ";" sql_files "${SQL_FILES}")
  list(LENGTH sql_files count)
  file(WRITE "${OUTPUT}.new" "// Written by cmake/EmbedSql.cmake from schemas/migrations/.\n"
    "#include \"coordinator/store/migrations.h\"\n\n#include <array>\n\nnamespace longrope {\nnamespace {\n\n"
    "constexpr std::array<Migration, ${count}> kMigrations = {{\n")
  foreach(sql_file IN LISTS sql_files)
    get_filename_component(stem "${sql_file}" NAME_WE)
    string(REGEX MATCH "^([0-9]+)_(.+)$" ignored "${stem}")
    math(EXPR version "1${CMAKE_MATCH_1} - 10000")
    set(name "${CMAKE_MATCH_2}")
    file(READ "${sql_file}" sql)
    string(FIND "${sql}" ")sql\"" terminator)
    if(NOT terminator EQUAL -1)
      message(FATAL_ERROR "the text )sql\" cannot be embedded: ${sql_file}")
    endif()
    file(APPEND "${OUTPUT}.new" "    Migration{${version}, \"${name}\", R\"sql(" "${sql}" ")sql\"},\n")
  endforeach()
  file(APPEND "${OUTPUT}.new" "}};\n\n}  // namespace\n\n"
    "std::span<const Migration> ${FUNCTION}() { return kMigrations; }\n\n}  // namespace longrope\n")
  file(RENAME "${OUTPUT}.new" "${OUTPUT}")
endif()
