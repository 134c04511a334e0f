#include <iostream>

#include "cli/command.h"
#include "common/error.h"

namespace longrope {

void add_memory_budget(CLI::App& command, std::int64_t& bytes) {
  command
      .add_option(
          "--memory-budget", bytes,
          "Bytes for weights and one document (8GiB); weights that need half of it stay in their files, a document "
          "that does not fit is refused [what is free]")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/true))
      ->check(CLI::PositiveNumber);
}

int run_program(CLI::App& app, int argc, char** argv) {
  try {
    app.parse(argc, argv);
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
