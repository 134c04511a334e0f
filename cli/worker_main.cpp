#include "cli/command.h"
#include "common/software_version.h"

// `longrope worker` and `longrope score` become this program: the part that needs Torch.
int main(int argc, char** argv) {
  CLI::App app{"LongRoPE scoring on LibTorch.", "longrope"};
  app.set_version_flag("--version", std::string(longrope::kSoftwareVersion));
  app.require_subcommand(1);
  longrope::add_worker_command(app);
  longrope::add_score_command(app);
  return longrope::run_program(app, argc, argv);
}
