#include "cli/command.h"
#include "common/duration.h"
#include "common/formats/named_factors.h"
#include "common/stop_signals.h"
#include "finetune/trainer.h"

#include <fmt/format.h>

#include <iostream>
#include <memory>
#include <string>

namespace longrope {
namespace {

struct FinetuneArguments {
  TrainingOptions training;
  std::string factors;
  std::string attention_factor;
  std::string init = "checkpoint";
  double initializer_range = 0.02;
  ShortSamples short_samples;
  std::string schedule = "linear";
  std::string dtype = "fp32";
  std::string angles = "fp64";
  std::string target = "hf5";
};

/// Lines on standard error; a run of thousands of updates should not fill a log.
class TrainingProgress {
 public:
  explicit TrainingProgress(const TrainingOptions& options) : options_(options) {}

  void show(const TrainingStep& step, double seconds) {
    seconds_ += seconds;
    ++updates_;
    const std::int64_t steps = options_.schedule.steps;
    constexpr double kSecondsBetweenLines = 5.0;
    since_line_ += seconds;
    if (since_line_ < kSecondsBetweenLines && step.step < steps && updates_ > 1) return;
    since_line_ = 0.0;
    const double each = seconds_ / static_cast<double>(updates_);
    std::int64_t tokens = options_.batch_size * options_.length;
    if (options_.short_samples) tokens += options_.short_samples->batch_size * options_.short_samples->length;
    std::cerr << fmt::format(
        "step {}/{}: loss {:.4f}, learning rate {:.3g}, gradient norm {:.3g}, {:.0f} tokens/s, {} left\n", step.step,
        steps, step.loss, step.learning_rate, step.gradient_norm, static_cast<double>(tokens) / each,
        duration_text(each * static_cast<double>(steps - step.step)));
  }

 private:
  const TrainingOptions& options_;
  double seconds_ = 0.0;
  double since_line_ = 0.0;
  std::int64_t updates_ = 0;
};

void finetune(FinetuneArguments arguments) {
  TrainingOptions& options = arguments.training;
  options.schedule.shape = parse_learning_rate_shape(arguments.schedule);
  options.dtype = parse_compute_dtype(arguments.dtype);
  options.angles = parse_angle_mode(arguments.angles);
  if (arguments.init == "random") options.random_weights = arguments.initializer_range;
  options.target = parse_hugging_face_target(arguments.target);
  if (options.target_length == 0) options.target_length = options.length;
  if (!arguments.short_samples.documents.empty()) options.short_samples = arguments.short_samples;
  if (!arguments.factors.empty()) {
    options.factors = named_factors(arguments.factors, arguments.attention_factor, describe_model(options.model),
                                    options.target_length);
  }
  options.place = process_place_from_environment();
  stop_on_signals();
  TrainingProgress progress(options);
  const TrainingObserver observer{
      .continued = [](std::int64_t steps) { std::cerr << fmt::format("continuing after step {}\n", steps); },
      .step_finished = [&](const TrainingStep& step, double seconds) { progress.show(step, seconds); }};
  if (train(options, observer, stop_requested()) == TrainingEnd::kStopped) {
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
  command->add_option("--model", options.model, "Hugging Face model directory")->required();
  command
      ->add_option("--documents", options.documents, "Documents file; the first --length tokens of each are a sample")
      ->required();
  command->add_option("--out", options.out, "Hugging Face model directory to write")->required();
  command->add_option("--length", options.length, "Tokens of each sample")
      ->required()
      ->check(CLI::Range(std::int64_t{2}, std::int64_t{1} << 31));
  auto* factors =
      command->add_option("--factors", arguments->factors, fmt::format("{} [those that the model has]", kFactorsHelp));
  command->add_option("--attention-factor", arguments->attention_factor, kAttentionFactorHelp)->needs(factors);
  command->add_option("--target-length", options.target_length, "Tokens that --factors are for [--length]")
      ->needs(factors)
      ->check(CLI::Range(std::int64_t{2}, std::int64_t{1} << 31));
  command->add_option("--target", arguments->target, "config.json for transformers 5 (hf5) or 4 (hf4)")
      ->check(CLI::IsMember({"hf5", "hf4"}))
      ->capture_default_str();
  command
      ->add_option("--init", arguments->init,
                   "checkpoint, or random: train from the beginning; --model needs no weights")
      ->check(CLI::IsMember({"checkpoint", "random"}))
      ->capture_default_str();
  command->add_option("--initializer-range", arguments->initializer_range, "random: deviation of matrices")
      ->capture_default_str();
  command->add_option("--steps", options.schedule.steps, "Updates")->required();
  command->add_option("--batch-size", options.batch_size, "Samples of one update")->capture_default_str();
  command->add_option("--micro-batch-size", options.micro_batch_size,
                      "Samples at once, gradients are accumulated [so many as have 16,384 tokens]");
  auto* short_documents =
      command->add_option("--short-documents", arguments->short_samples.documents,
                          "Documents for short samples, trained with the angles that the model has (LongRoPE2)");
  auto* short_length = command->add_option("--short-length", arguments->short_samples.length, "Tokens of each of them")
                           ->needs(short_documents);
  auto* short_batch = command
                          ->add_option("--short-batch-size", arguments->short_samples.batch_size,
                                       "Short samples in one update, beside --batch-size long ones")
                          ->needs(short_documents);
  short_documents->needs(short_length)->needs(short_batch);
  command->add_option("--learning-rate", options.schedule.peak, "The highest")->capture_default_str();
  command->add_option("--schedule", arguments->schedule, "linear, cosine or constant")->capture_default_str();
  command->add_option("--warmup-steps", options.schedule.warmup_steps, "Updates from 0 to the highest rate")
      ->capture_default_str();
  command->add_option("--beta1", options.adamw.beta1, "AdamW")->capture_default_str();
  command->add_option("--beta2", options.adamw.beta2, "AdamW")->capture_default_str();
  command->add_option("--epsilon", options.adamw.epsilon, "AdamW")->capture_default_str();
  command->add_option("--weight-decay", options.adamw.weight_decay, "AdamW; of matrices")->capture_default_str();
  command->add_option("--max-gradient-norm", options.max_gradient_norm, "Gradients are clipped to it; 0: not")
      ->capture_default_str();
  command->add_option("--seed", options.seed, "Of the order of documents and of random weights")->capture_default_str();
  command->add_option("--dtype", arguments->dtype, "fp32; bf16: products in bfloat16 where the device has them")
      ->capture_default_str();
  command->add_option("--angles", arguments->angles, "fp64, or hf_fp32 as Hugging Face multiplies")
      ->capture_default_str();
  command->add_option("--device", options.device, "cpu, cuda or cuda:N (CUDA has not been run on a GPU yet)")
      ->capture_default_str();
  command->add_option("--threads", options.threads, "CPU threads")->check(CLI::Range(1, 4096))->capture_default_str();
  command->add_flag("--recompute", options.recompute,
                    "Keep only the input of each layer, compute activations again: less memory, a third more work");
  command->add_option("--checkpoint-interval", options.checkpoint_interval, "Updates from a saved state to the next")
      ->capture_default_str();
  command->footer(
      "A run that was stopped or killed goes on, with the same bits, when the command is given again: its state lies "
      "in\n"
      "OUT.training until the model is finished.\n"
      "Several processes that see the same folders share each batch, as torchrun starts them (RANK, WORLD_SIZE,\n"
      "MASTER_ADDR, MASTER_PORT), on a network that is trusted; \"cuda\" is then for each the GPU of its LOCAL_RANK.\n"
      "Example:\n  longrope finetune --model models/byte-llama --documents train.safetensors --length 2048 --factors "
      "yarn \\\n    --steps 50 --batch-size 8 --learning-rate 1e-4 --threads 2 --out build/byte-llama-2048");
  command->callback([=] { finetune(*arguments); });
}

}  // namespace longrope
