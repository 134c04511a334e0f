#include "cli/command.h"
#include "cli/live_line.h"
#include "cli/model_argument.h"
#include "common/duration.h"
#include "common/formats/named_factors.h"
#include "common/stop_signals.h"
#include "finetune/trainer.h"

#include <fmt/format.h>

#include <unistd.h>

#include <cctype>
#include <iostream>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>

namespace longrope {
namespace {

struct FinetuneArguments {
  TrainingOptions training;
  std::string model;
  std::string factors;
  std::string attention_factor;
  std::string init = "checkpoint";
  double initializer_range = 0.02;
};

std::string upper_case(std::string_view word) {
  std::string upper;
  for (const char letter : word) upper += static_cast<char>(std::toupper(static_cast<unsigned char>(letter)));
  return upper;
}

/// Adds the option of one setting; what is given goes into `settings`, which must outlive `command`.
template <typename T>
void add_setting(CLI::App& command, const TrainingField<T>& field, TrainingSettings& settings) {
  const std::string name = option_name(field.name);
  Setting<T>& setting = settings.*field.member;
  std::string help(field.effect);
  if (field.default_name && !field.default_name->empty()) help += fmt::format(" [{}]", *field.default_name);
  if constexpr (std::is_same_v<T, bool>) {
    command.add_flag_callback(name, [&setting] { setting = true; }, help);
  } else {
    using Read = std::conditional_t<std::is_arithmetic_v<T>, T, std::string>;
    CLI::Option* const option = command.add_option_function<Read>(
        name,
        [&](const Read& value) {  // field and setting outlive this function
          if constexpr (std::is_enum_v<T>) {
            setting = field.allowed.parse(value);
          } else {
            setting = T(value);
          }
        },
        help);
    if (!field.unit.empty()) option->type_name(upper_case(field.unit));
    if (!field.default_name) option->default_str(setting_text(setting.value()));
  }
}

/// Shows progress on standard error: a run of thousands of updates should not fill a log.
class TrainingProgress {
 public:
  explicit TrainingProgress(const TrainingOptions& options) : options_(options) {}

  void finish() { line_.finish(); }
  void show(const TrainingStep& step, double seconds) {
    seconds_ += seconds;
    ++updates_;
    const std::int64_t steps = options_.settings.steps;
    const double each = seconds_ / static_cast<double>(updates_);
    std::int64_t tokens = options_.settings.batch_size * options_.length;
    if (const auto samples = short_samples(options_.settings)) tokens += samples->batch_size * samples->length;
    line_.show({fmt::format("step {}/{}: loss {:.4f}", step.step, steps, step.loss),
                duration_text(each * static_cast<double>(steps - step.step)) + " left",
                fmt::format("{:.0f} tokens/s", static_cast<double>(tokens) / each),
                fmt::format("learning rate {:.3g}", step.learning_rate),
                fmt::format("gradient norm {:.3g}", step.gradient_norm)},
               /*at_once=*/updates_ == 1 || step.step == steps);
  }

 private:
  const TrainingOptions& options_;
  double seconds_ = 0.0;
  std::int64_t updates_ = 0;
  LiveLine line_{STDERR_FILENO};
};

void finetune(FinetuneArguments arguments) {
  TrainingOptions& options = arguments.training;
  options.model = arguments.model;
  if (arguments.init == "random") options.random_weights = arguments.initializer_range;
  if (options.target_length == 0) options.target_length = options.length;
  options.place = process_place_from_environment();
  const ModelDescription model = describe_model(options.model, options.reached_length);
  if (options.place.rank == 0) warn_about(model);
  if (!arguments.factors.empty()) {
    options.factors = named_factors(arguments.factors, arguments.attention_factor, model, options.target_length);
  }
  stop_on_signals();
  TrainingProgress progress(options);
  const TrainingObserver observer{
      .continued = [](std::int64_t steps) { std::cerr << fmt::format("continuing after step {}\n", steps); },
      .step_finished = [&](const TrainingStep& step, double seconds) { progress.show(step, seconds); }};
  const TrainingEnd end = train(options, observer, stop_requested());
  progress.finish();
  if (end == TrainingEnd::kStopped) {
    if (options.place.rank == 0) std::cerr << "stopped; the same command continues\n";
    return;
  }
  if (options.place.rank == 0) fmt::print("{}\n", options.out.string());
}

}  // namespace

void add_finetune_command(CLI::App& app) {
  auto* command = app.add_subcommand("finetune", "Train a model further on long documents, under given factors");
  auto arguments = std::make_shared<FinetuneArguments>();
  TrainingOptions& options = arguments->training;
  const auto tokens = CLI::Range(std::int64_t{2}, std::int64_t{1} << 31);
  add_model(*command, arguments->model);
  add_reached_length(*command, options.reached_length);
  command
      ->add_option("--documents", options.documents, "Documents file; the first --length tokens of each are a sample")
      ->required();
  command->add_option("--out", options.out, "Hugging Face model directory to write")->required();
  in_tokens(command->add_option("--length", options.length, "Tokens of each sample"))->required()->check(tokens);
  auto* factors =
      command->add_option("--factors", arguments->factors, fmt::format("{} [those of the model]", kFactorsHelp));
  command->add_option("--attention-factor", arguments->attention_factor, kAttentionFactorHelp)->needs(factors);
  in_tokens(command->add_option("--target-length", options.target_length, "Length that --factors are for [--length]"))
      ->needs(factors)
      ->check(tokens);
  command
      ->add_option("--init", arguments->init,
                   "Weights to begin with: checkpoint, or random, for which --model needs only config.json")
      ->check(CLI::IsMember({"checkpoint", "random"}))
      ->capture_default_str();
  command
      ->add_option("--initializer-range", arguments->initializer_range,
                   "Standard deviation of the random matrices of --init random")
      ->capture_default_str();
  for_each_training_field([&](const auto& field) { add_setting(*command, field, options.settings); });
  command->get_option(option_name("steps"))->required();
  command->add_option("--device", options.device, "cpu, cuda or cuda:N (CUDA has not been run on a GPU yet)")
      ->capture_default_str();
  command->footer(
      "A run that was stopped or killed continues, with the same bits, when the same command is given again: until "
      "the\n"
      "model is finished, its state lies in OUT.training.\n"
      "Several processes that see the same folders share each batch when they are started as torchrun does it (RANK,\n"
      "WORLD_SIZE, MASTER_ADDR, MASTER_PORT), on a trusted network only. With --device cuda each process uses the GPU\n"
      "of its LOCAL_RANK.\n"
      "Example:\n  longrope finetune --model models/byte-llama --documents train.safetensors --length 2048 --factors "
      "yarn \\\n    --steps 50 --batch-size 8 --learning-rate 1e-4 --threads 2 --out build/byte-llama-2048");
  command->callback([=] { finetune(*arguments); });
}

}  // namespace longrope
