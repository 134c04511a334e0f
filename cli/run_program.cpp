#include "cli/command.h"
#include "common/error.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <iostream>

namespace longrope {
namespace {

/// Throws Error unless everything that a command printed was written: on a full disk, half a result must not look like
/// success.
void require_printed() {
  errno = 0;
  std::cout.flush();
  const bool flushed = std::fflush(stdout) == 0;
  const int cause = errno;
  if (flushed && std::cout && std::ferror(stdout) == 0) return;
  // Where only an earlier write failed, its cause is gone by now.
  throw Error(fmt::format("cannot write to standard output: {}", cause == 0 ? "a write failed" : std::strerror(cause)));
}

}  // namespace

void add_search_database(CLI::App& command, std::string& database) {
  command.add_option("--db", database, "Database of a search or a pipeline, which may be running")->required();
}

void add_memory_budget(CLI::App& command, std::int64_t& bytes) {
  command
      .add_option(
          "--memory-budget", bytes,
          "Most memory for the weights and one document, as in 8GiB. Weights that would take half of it are read from "
          "their files as they are needed; a document that does not fit is refused [the memory that is free]")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/true))
      ->check(CLI::PositiveNumber);
}

int run_program(CLI::App& app, int argc, char** argv) {
  try {
    app.parse(argc, argv);
    require_printed();
    return kExitSuccess;
  } catch (const CLI::RuntimeError& end) {  // a command's own exit code
    return end.get_exit_code();
  } catch (const CLI::ParseError& error) {
    // Help and version also arrive here, with exit code 0.
    return app.exit(error) == 0 ? kExitSuccess : kExitBadInput;
  } catch (const InputError& error) {
    std::cerr << "longrope: " << error.what() << '\n';
    return kExitBadInput;
  } catch (const std::exception& error) {
    std::cerr << "longrope: " << error.what() << '\n';
    return kExitFailure;
  }
}

}  // namespace longrope
