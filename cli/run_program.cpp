#include <iostream>

#include "cli/command.h"
#include "common/error.h"

namespace longrope {

int run_program(CLI::App& app, int argc, char** argv) {
  try {
    app.parse(argc, argv);
    return kExitSuccess;
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
