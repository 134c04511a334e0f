#include "cli/command.h"
#include "common/software_version.h"

// The program longrope-worker: the commands that need Torch. `longrope worker`, `score`, `evaluate`, `finetune`,
// `check-engine` and `devices` start it.
int main(int argc, char** argv) {
  CLI::App app{"LongRoPE scoring and fine-tuning on LibTorch.", "longrope"};
  app.set_version_flag("--version", std::string(longrope::kSoftwareVersion));
  app.require_subcommand(1);
  longrope::add_worker_command(app);
  longrope::add_score_command(app);
  longrope::add_evaluate_command(app);
  longrope::add_finetune_command(app);
  longrope::add_check_engine_command(app);
  longrope::add_devices_command(app);
  return longrope::run_program(app, argc, argv);
}
