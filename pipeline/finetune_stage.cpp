#include "common/error.h"
#include "common/files/read_file.h"
#include "common/files/write_file.h"
#include "common/machine_threads.h"
#include "coordinator/processes/free_port.h"
#include "finetune/training_memory.h"
#include "pipeline/hand_off.h"
#include "pipeline/preflight.h"
#include "pipeline/run_plan.h"
#include "pipeline/stage.h"
#include "pipeline/stage_training.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

namespace longrope {
namespace {

namespace fs = std::filesystem;

constexpr const char* kProcessesFile = "processes";  // in the folder of a stage: how many train together

/// A fine-tuning: built in, by a command of the user's, or by the user.
class FinetuneDriver final : public StageDriver {
 public:
  explicit FinetuneDriver(const PipelineStage& stage) : stage_(stage), finetune_(std::get<FinetuneStage>(stage.work)) {}

  void check(Preflight& preflight) const override {
    TrainingOptions options = training_options(preflight.config(), stage_);
    if (preflight.is_finished()) options.place.count = 1;  // whatever devices there are now, it has ended
    require_equal_shares(options);
    if (finetune_.built_in()) require_consistent(options);
    if (!finetune_.documents.empty()) {
      preflight.train(finetune_.documents, preflight.documents(finetune_.documents, options.length));
    }
    if (const auto samples = short_samples(options.settings)) {
      const std::int64_t original = preflight.model().geometry.original_length;
      if (finetune_.built_in() && samples->length > original) {
        throw InputError(fmt::format("short_length must be at most the {} tokens that the model was trained at: {}",
                                     original, samples->length));
      }
      preflight.train(samples->documents, preflight.documents(samples->documents, samples->length));
    }
  }

  void add_cost(const Config& config, const ModelDescription& model, StageCost& cost) const override {
    // FLOPs in units of a forward pass: backward costs two, recomputation one more.
    constexpr double kTraining = 3.0;
    constexpr double kRecomputingTraining = 4.0;
    const TrainingOptions options = training_options(config, stage_);
    if (finetune_.built_in()) require_settings(options, config);
    const std::int64_t steps = options.settings.steps;
    cost.add_passes(model, options.length, steps * options.settings.batch_size);
    if (const auto samples = short_samples(options.settings)) {
      cost.add_passes(model, samples->length, steps * samples->batch_size);
    }
    cost.operations *= options.settings.recompute ? kRecomputingTraining : kTraining;
    cost.host_memory_bytes = cost.gpu_memory_bytes = estimate_training_memory(model, options);
    cost.max_devices = options.settings.batch_size;
    cost.elsewhere = !finetune_.built_in();
  }

  void add_inputs(const PipelineStageRecord& /*record*/, const PipelinePlaces& /*places*/,
                  StageInputs& inputs) const override {
    inputs.add("documents", finetune_.documents);
    inputs.add("short_documents", finetune_.settings.short_documents);
  }

  [[nodiscard]] StageWork work(const PipelineStageRecord& record, const PipelineContext& context) const override {
    const fs::path out = context.places.folder(record.name) / fmt::format("{}-{}", context.config.name, record.name);
    if (!finetune_.built_in()) return hand_off_training(record, context, out);
    if (fs::exists(out)) return {WorkEnd::kDone, out, ""};
    require_same_processes(record, context, out);
    const bool ended = run_to_end(built_in_training(record, context, out), "fine-tuning failed", record, context);
    // A signal that came to it alone has stopped it, which it does not call a failure.
    if (!ended || !fs::exists(out)) return {WorkEnd::kStopped, {}, ""};
    return {WorkEnd::kDone, out, ""};
  }

 private:
  void require_settings(const TrainingOptions& options, const Config& config) const;
  static void require_equal_shares(const TrainingOptions& options);
  static void require_same_processes(const PipelineStageRecord& record, const PipelineContext& context,
                                     const fs::path& out);
  [[nodiscard]] TrainingSettings settings(const PipelineContext& context) const;
  [[nodiscard]] std::vector<Child> built_in_training(const PipelineStageRecord& record, const PipelineContext& context,
                                                     const fs::path& out) const;
  [[nodiscard]] StageWork hand_off_training(const PipelineStageRecord& record, const PipelineContext& context,
                                            const fs::path& out) const;

  const PipelineStage& stage_;
  const FinetuneStage& finetune_;
};

/// Throws what require_consistent() throws, with the stage and the file.
void FinetuneDriver::require_settings(const TrainingOptions& options, const Config& config) const {
  try {
    require_consistent(options);
  } catch (const InputError& error) {
    throw InputError(fmt::format("{} (stage {}, {})", error.what(), stage_.name, config.file.string()));
  }
}

/// A batch is shared by processes, one for each device.
void FinetuneDriver::require_equal_shares(const TrainingOptions& options) {
  const auto require = [&](std::int64_t batch_size) {
    if (batch_size % options.place.count == 0) return;
    throw InputError(
        fmt::format("the number of devices must divide the batch size of a fine-tuning, {}, because each trains an "
                    "equal share: {} (--device or devices of [worker] name fewer)",
                    batch_size, options.place.count));
  };
  require(options.settings.batch_size);
  if (const auto samples = short_samples(options.settings)) require(samples->batch_size);
}

/// The bits of a training depend on how many processes share a batch, so its state goes on under that number only. The
/// trainer refuses another one too, after it has read the model.
void FinetuneDriver::require_same_processes(const PipelineStageRecord& record, const PipelineContext& context,
                                            const fs::path& out) {
  const fs::path file = context.places.folder(record.name) / kProcessesFile;
  const std::string processes = std::to_string(stage_devices(context.config).size());
  const bool has_state = fs::exists(out.string() + ".training");
  if (has_state) {
    constexpr std::size_t kMaxBytes = 32;
    // Without the file it was begun by a release that trained in one process.
    const std::string before = fs::exists(file) ? read_file(file, kMaxBytes) : "1";
    if (before == processes) return;
    throw InputError(
        fmt::format("a fine-tuning that has begun must keep its number of processes, one for each device: began with "
                    "{}, now {} (--device or devices of [worker]; longrope stage retry {} begins it anew)",
                    printable_text(before), processes, record.name));
  }
  write_file_atomically(file, processes);
}

/// What the stage says, and what the run says for what it leaves open.
TrainingSettings FinetuneDriver::settings(const PipelineContext& context) const {
  TrainingSettings settings = finetune_.settings;
  fill_in(settings, run_settings(context.config));
  if (!settings.threads.given()) {
    const auto processes = static_cast<std::int64_t>(finetune_.built_in() ? stage_devices(context.config).size() : 1);
    settings.threads = std::max<std::int64_t>(1, machine_threads() / processes);
  }
  return settings;
}

/// `longrope finetune`, a process for each device. They meet as those that torchrun starts do, on this machine alone.
std::vector<Child> FinetuneDriver::built_in_training(const PipelineStageRecord& record, const PipelineContext& context,
                                                     const fs::path& out) const {
  std::vector<std::string> command = {context.tools.worker_program().string(),
                                      "finetune",
                                      "--model",
                                      fs::absolute(context.places.checkpoint(record.model)).string(),
                                      "--documents",
                                      fs::absolute(finetune_.documents).string(),
                                      "--factors",
                                      context.places.winner(record.factors).string(),
                                      "--target-length",
                                      std::to_string(context.places.winning_factors(record.factors).target_length),
                                      "--length",
                                      std::to_string(sample_length(context.config.stages, stage_)),
                                      "--out",
                                      out.string()};
  if (const auto reached = context.checkpoints.reached_length(context.places.checkpoint(record.model))) {
    command.insert(command.end(), {"--reached-length", std::to_string(*reached)});
  }
  const std::vector<std::string> options = command_line(settings(context));
  command.insert(command.end(), options.begin(), options.end());
  const std::vector<std::string> devices = stage_devices(context.config);
  // What this process was started with, under Slurm for one, must not make its children wait for others.
  const std::string count = std::to_string(devices.size());
  const std::string port = devices.size() == 1 ? "" : std::to_string(free_loopback_port());
  std::vector<Child> children;
  for (std::size_t i = 0; i < devices.size(); ++i) {
    Child& child =
        children.emplace_back(Child{.command = command, .folder = ".", .log = context.places.log(record.name)});
    child.command.insert(child.command.end(), {"--device", devices[i]});
    child.environment = {{"WORLD_SIZE", count}};
    if (devices.size() == 1) continue;
    if (i > 0) child.log += fmt::format(".{}", i + 1);
    for (const char* const rank : {"RANK", "LOCAL_RANK"}) child.environment.emplace_back(rank, std::to_string(i));
    child.environment.insert(child.environment.end(), {{"MASTER_ADDR", "127.0.0.1"},
                                                       {"MASTER_PORT", port},
                                                       {"GLOO_SOCKET_IFNAME", ""},
                                                       {"TORCHELASTIC_USE_AGENT_STORE", "False"},
                                                       {"TORCHELASTIC_RESTART_COUNT", "0"}});
  }
  return children;
}

/// A command of the user's, or the user.
StageWork FinetuneDriver::hand_off_training(const PipelineStageRecord& record, const PipelineContext& context,
                                            const fs::path& out) const {
  const fs::path folder = context.places.hand_off(record.name);
  const FactorsFile::Entry factors = context.places.winning_factors(record.factors);
  const std::string completion =
      fmt::format("longrope stage complete {} --db {} --checkpoint DIR", record.name, context.database.string());
  TrainingSettings recommended = settings(context);
  fill_in(recommended, recommended_settings());
  write_hand_off({.stage = record.name,
                  .model = context.places.checkpoint(record.model),
                  .model_digest = record.inputs.at("model"),
                  .documents = finetune_.documents,
                  .factors = factors.factors,
                  .target_length = factors.target_length,
                  .length = sample_length(context.config.stages, stage_),
                  .settings = recommended,
                  .completion = completion},
                 folder, context.checkpoints);
  if (finetune_.by_hand) {
    return {WorkEnd::kWaiting, {}, fmt::format("fine-tune {}, then: {}", (folder / "model").string(), completion)};
  }
  if (!fs::exists(out)) {
    // Under another name until the command has ended well: what one that was killed left there may be half a model.
    const fs::path unfinished = out.string() + ".unfinished";
    const Child command = {
        .command = finetune_.command,
        .folder = folder,
        .log = context.places.log(record.name),
        .environment = {{"LONGROPE_HAND_OFF", folder.string()}, {"LONGROPE_CHECKPOINT", unfinished.string()}}};
    if (!run_to_end({command}, "the command failed", record, context)) return {WorkEnd::kStopped, {}, ""};
    if (!fs::exists(unfinished)) {
      throw InputError(fmt::format("the command must leave a model directory at LONGROPE_CHECKPOINT: none ({})",
                                   unfinished.string()));
    }
    fs::rename(unfinished, out);
  }
  // At each start: what is refused can be repaired there, and is not trained again.
  require_trained_from(folder, out, context.checkpoints);
  return {WorkEnd::kDone, out, ""};
}

}  // namespace

std::unique_ptr<StageDriver> make_finetune_driver(const PipelineStage& stage) {
  return std::make_unique<FinetuneDriver>(stage);
}

}  // namespace longrope
