#include "cli/command.h"
#include "common/error.h"
#include "common/software_version.h"
#include "coordinator/processes/worker_program.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <iostream>
#include <string_view>

namespace {

/// Replaces this program by longrope-worker, which has the commands that need Torch: the others start at once, and run
/// where Torch is missing. Returns only when that fails.
int become_worker_program(char** argv) {
  try {
    const std::string program = longrope::worker_program().string();
    execv(program.c_str(), argv);
    throw longrope::Error("cannot start " + program + ": " + std::strerror(errno));
  } catch (const longrope::Error& error) {
    std::cerr << "longrope: " << error.what() << '\n';
    return longrope::kExitFailure;
  }
}

}  // namespace

int main(int argc, char** argv) {
  constexpr std::array<std::string_view, 6> kNeedTorch = {"worker",   "score",   "evaluate",
                                                          "finetune", "devices", "check-engine"};
  if (argc > 1 && std::ranges::find(kNeedTorch, std::string_view(argv[1])) != kNeedTorch.end()) {
    return become_worker_program(argv);
  }
  CLI::App app{"Searches LongRoPE rescale factors that extend the context window of a language model.", "longrope"};
  app.set_version_flag("--version", std::string(longrope::kSoftwareVersion));
  app.require_subcommand(1);
  app.footer(
      "Exit codes: 0 success, 1 the work could not be done, 2 bad input (nothing was changed), "
      "3 a pipeline waits for its user.\n"
      "Options and examples of a command: longrope COMMAND --help");
  longrope::add_run_command(app);
  longrope::add_coordinator_command(app);
  app.add_subcommand("worker", "Score candidates for the coordinator of a search");
  longrope::add_stage_command(app);
  longrope::add_status_command(app);
  longrope::add_history_command(app);
  longrope::add_best_command(app);
  longrope::add_report_command(app);
  longrope::add_export_command(app);
  longrope::add_import_command(app);
  longrope::add_factors_command(app);
  app.add_subcommand("score", "Measure perplexity or accuracy on documents under given factors");
  app.add_subcommand("evaluate", "Compare a model, PI, NTK, YaRN and your factors at several lengths");
  app.add_subcommand("finetune", "Train a model further on long documents, under given factors");
  app.add_subcommand("check-engine", "Measure whether an inference engine applies the factors");
  app.add_subcommand("devices", "List the devices of this machine that can be computed on");
  longrope::add_documents_command(app);
  longrope::add_inspect_model_command(app);
  longrope::add_completion_command(app);
  return longrope::run_program(app, argc, argv);
}
