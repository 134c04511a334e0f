#pragma once

#include "common/formats/hugging_face_export.h"
#include "common/rope/rotary_table.h"
#include "common/wire/score_result.h"

#include <nlohmann/json_fwd.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace longrope {

/// How the learning rate changes after the warm-up: to 0 in a straight line, to 0 along half a cosine, not at all.
enum class LearningRateShape { kLinear, kCosine, kConstant };

[[nodiscard]] std::string_view to_string(LearningRateShape shape);  // "linear", "cosine", "constant"
/// Throws InputError for a name that is not one of the three.
[[nodiscard]] LearningRateShape parse_learning_rate_shape(std::string_view text);
/// "hf5" or "hf4", as parse_hugging_face_target() reads them.
[[nodiscard]] std::string_view to_string(HuggingFaceTarget target);

template <typename T>
struct Default {
  explicit Default(T standard) : value(std::move(standard)) {}
  T value;
};

/// A value that knows whether somebody gave it. Until then it is its default, which others may replace (fill_in()).
/// Reads as a T; assigning a T gives it.
template <typename T>
class Setting {
 public:
  template <typename U>
  Setting(Default<U> standard) : value_(static_cast<T>(std::move(standard.value))) {}
  Setting(T value) : value_(std::move(value)), given_(true) {}

  operator const T&() const { return value_; }
  [[nodiscard]] const T& value() const { return value_; }
  [[nodiscard]] bool given() const { return given_; }

 private:
  T value_;
  bool given_ = false;
};

/// How to train: the settings of one fine-tuning run (spec §5.2) that are the same wherever they are written, which is
/// a [[stage]] of kind "finetune", the command line of `longrope finetune`, the manifest of a hand-off and the training
/// state. Where the model and the documents lie is no setting (TrainingOptions, finetune/training_run.h).
/// A member that for_each_training_field() does not list does not compile.
struct TrainingSettings {
  /// Updates of the whole run; the learning rate falls over them. No default: the command and the stage require it.
  Setting<std::int64_t> steps = Default(0);

  /// Long samples in one update. Default 32, as published for LLaMA2-7B. Memory depends on micro_batch_size instead.
  Setting<std::int64_t> batch_size = Default(32);

  /// Samples that pass through the model at once; gradients accumulate over the micro-batches of an update. Must divide
  /// each process's share of the batch. Default 0: as many as have 16,384 tokens, at least one. Larger ones need more
  /// memory for activations, and change the order in which gradients are summed, so the last bits of the result.
  Setting<std::int64_t> micro_batch_size = Default(0);

  /// Documents file for the short samples of mixed windows (LongRoPE2, spec §7.5): in each update, some samples no
  /// longer than the model's original length are trained with the angles it has without the factors. Default empty:
  /// no short samples. This and the next two are given together.
  Setting<std::filesystem::path> short_documents = Default(std::filesystem::path());

  /// Tokens of a short sample, at most the model's original length.
  Setting<std::int64_t> short_length = Default(0);

  /// Short samples in one update, beside `batch_size` long ones.
  Setting<std::int64_t> short_batch_size = Default(0);

  /// Peak learning rate, reached after the warm-up. Default 2e-5, as published. Too high a rate ends in a loss that is
  /// not finite, and the run stops with an error.
  Setting<double> learning_rate = Default(2e-5);

  /// Shape of the learning rate after the warm-up. Default linear.
  Setting<LearningRateShape> schedule = Default(LearningRateShape::kLinear);

  /// Updates in which the learning rate rises from 0 to its peak; at most `steps`. Default 0: the first update has the
  /// peak rate.
  Setting<std::int64_t> warmup_steps = Default(0);

  /// Decay of AdamW's first moment (the mean of the gradients), in [0, 1). Default 0.9.
  Setting<double> beta1 = Default(0.9);

  /// Decay of AdamW's second moment (the mean of their squares), in [0, 1). Default 0.95.
  Setting<double> beta2 = Default(0.95);

  /// Added to the root of AdamW's second moment, so that a vanishing one divides nothing by zero. Default 1e-8.
  Setting<double> epsilon = Default(1e-8);

  /// Share of its value, times the learning rate, that each update takes from a matrix; norms and biases keep theirs.
  /// Default 0: no decay.
  Setting<double> weight_decay = Default(0.0);

  /// Largest norm of all gradients together; larger ones are scaled down to it. Default 1. 0: never.
  Setting<double> max_gradient_norm = Default(1.0);

  /// Seed of the document order and of random weights. Default 0; in a pipeline, that of [run].
  Setting<std::uint64_t> seed = Default(0);

  /// Arithmetic of matrix products and attention; parameters, gradients and moments are float32. Default fp32; in a
  /// pipeline, that of [model]. bf16 is faster where the device has bfloat16 instructions; elsewhere a CPU computes in
  /// float32 instead.
  Setting<ComputeDtype> dtype = Default(ComputeDtype::kFp32);

  /// How rotary angles are computed. Default fp64; in a pipeline, that of [model].
  Setting<AngleMode> angles = Default(AngleMode::kFp64);

  /// Version of transformers that config.json of the result is written for. Default hf5.
  Setting<HuggingFaceTarget> target = Default(HuggingFaceTarget::k5);

  /// CPU threads. Default 1; in a pipeline, all of the machine. Sums depend on it in their last bits.
  Setting<std::int64_t> threads = Default(1);

  /// Whether only each layer's input is kept and its activations are computed again in the backward pass. Default
  /// false. True costs a third more time and keeps the activations of one layer instead of all.
  Setting<bool> recompute = Default(false);

  /// Updates between two saved states: what a killed run repeats at most. Default 50.
  Setting<std::int64_t> checkpoint_interval = Default(50);
};

/// How a training that goes on is held to a setting.
enum class SettingIdentity {
  kValue,       // it keeps its value
  kDigest,      // the file keeps its content, wherever it lies
  kArithmetic,  // a stage is not held to it, because its default is the machine's; a training state is
  kNone,        // it changes no bit of the result
};

/// What a setting may be, where that is less than its type can hold.
template <typename T>
struct AllowedValues {};
template <>
struct AllowedValues<std::int64_t> {
  std::int64_t low = 0;
  std::int64_t high = 1'000'000;
};
template <>
struct AllowedValues<double> {
  double low = 0.0;
  double high = 1000.0;
  bool low_excluded = false;
};
template <typename Enum>
  requires std::is_enum_v<Enum>
struct AllowedValues<Enum> {
  std::span<const Enum> values;
  Enum (*parse)(std::string_view);  // throws InputError, naming the setting
};

/// One line of the list of settings.
template <typename T>
struct TrainingField {
  std::string_view name;  // in TOML and JSON; on the command line "--batch-size"
  Setting<T> TrainingSettings::* member;
  std::string_view unit;    // what the value counts, in the plural; empty: nothing
  std::string_view effect;  // for --help
  AllowedValues<T> allowed = {};
  SettingIdentity identity = SettingIdentity::kValue;
  /// What --help calls the default; nullopt: its value. Empty: it has none.
  std::optional<std::string_view> default_name = std::nullopt;
  bool stage_key = true;  // false: no key of a stage, because [run] or [model] says it for all stages
};

namespace training_fields {

inline constexpr std::int64_t kMaxLength = 1 << 27;  // tokens
inline constexpr AllowedValues<double> kBelowOne{.low = 0.0, .high = 0.999999999};
inline constexpr AllowedValues<double> kPositive{.low = 0.0, .high = 1000.0, .low_excluded = true};
inline constexpr std::array kShapes{LearningRateShape::kLinear, LearningRateShape::kCosine,
                                    LearningRateShape::kConstant};
inline constexpr std::array kDtypes{ComputeDtype::kFp32, ComputeDtype::kBf16};
inline constexpr std::array kAngles{AngleMode::kFp64, AngleMode::kHfFp32};
inline constexpr std::array kTargets{HuggingFaceTarget::k5, HuggingFaceTarget::k4};

template <typename T>
using F = TrainingField<T>;
using S = TrainingSettings;
using enum SettingIdentity;

/// Every setting once. In this order they stand in the manifest and in --help.
inline constexpr std::tuple kAll{
    F<std::int64_t>{"steps", &S::steps, "updates", "Updates of the whole run", {.low = 1}, kValue, ""},
    F<std::int64_t>{"batch_size", &S::batch_size, "samples", "Samples in one update", {.low = 1}},
    F<std::int64_t>{"micro_batch_size",
                    &S::micro_batch_size,
                    "samples",
                    "Samples that pass through the model at once; gradients accumulate",
                    {.low = 1},
                    kValue,
                    "16,384 tokens' worth"},
    F<std::filesystem::path>{
        "short_documents",
        &S::short_documents,
        "",
        "Documents file for short samples, trained with the angles that the model has without --factors "
        "(LongRoPE2)",
        {},
        kDigest,
        ""},
    F<std::int64_t>{"short_length",
                    &S::short_length,
                    "tokens",
                    "Tokens of each short sample",
                    {.low = 2, .high = kMaxLength},
                    kValue,
                    ""},
    F<std::int64_t>{"short_batch_size",
                    &S::short_batch_size,
                    "samples",
                    "Short samples in one update, beside --batch-size long ones",
                    {.low = 1},
                    kValue,
                    ""},
    F<double>{"learning_rate", &S::learning_rate, "", "Peak learning rate", kPositive},
    F<LearningRateShape>{"schedule",
                         &S::schedule,
                         "",
                         "Learning rate after the warm-up: linear, cosine or constant",
                         {kShapes, &parse_learning_rate_shape}},
    F<std::int64_t>{"warmup_steps", &S::warmup_steps, "updates",
                    "Updates in which the learning rate rises from 0 to its peak"},
    F<double>{"beta1", &S::beta1, "", "Decay of AdamW's first moment", kBelowOne},
    F<double>{"beta2", &S::beta2, "", "Decay of AdamW's second moment", kBelowOne},
    F<double>{"epsilon", &S::epsilon, "", "Added to the root of AdamW's second moment", kPositive},
    F<double>{"weight_decay", &S::weight_decay, "", "AdamW's weight decay, for matrices only"},
    F<double>{"max_gradient_norm",
              &S::max_gradient_norm,
              "",
              "Gradients are clipped to this norm; 0 leaves them",
              {.low = 0.0, .high = 1e9}},
    F<std::uint64_t>{"seed",
                     &S::seed,
                     "",
                     "Seed of the document order and of random weights",
                     {},
                     kValue,
                     std::nullopt,
                     /*stage_key=*/false},
    F<ComputeDtype>{"dtype",
                    &S::dtype,
                    "",
                    "Arithmetic of matrix products: fp32, or bf16 where the device has it",
                    {kDtypes, &parse_compute_dtype}},
    F<AngleMode>{"angles",
                 &S::angles,
                 "",
                 "Rotary angles: fp64, or hf_fp32 as Hugging Face computes them",
                 {kAngles, &parse_angle_mode},
                 kValue,
                 std::nullopt,
                 /*stage_key=*/false},
    F<HuggingFaceTarget>{"target",
                         &S::target,
                         "",
                         "config.json for transformers 5 (hf5) or 4 (hf4)",
                         {kTargets, &parse_hugging_face_target}},
    F<std::int64_t>{"threads", &S::threads, "", "CPU threads", {.low = 1, .high = 1024}, kArithmetic},
    F<bool>{"recompute",
            &S::recompute,
            "",
            "Keep only each layer's input and compute activations again in the backward pass: less memory, a "
            "third more time",
            {},
            kNone},
    F<std::int64_t>{"checkpoint_interval",
                    &S::checkpoint_interval,
                    "updates",
                    "Updates between two saved states",
                    {.low = 1},
                    kNone},
};

}  // namespace training_fields

inline constexpr std::size_t kTrainingFields = std::tuple_size_v<decltype(training_fields::kAll)>;

/// Calls `visit` with the TrainingField of every setting, in the order of the list. Whatever reads or writes settings
/// walks them so: a setting that is in the list is nowhere forgotten.
template <typename Visit>
void for_each_training_field(const Visit& visit) {
  std::apply([&](const auto&... field) { (visit(field), ...); }, training_fields::kAll);
}

/// A value as the command line has it: "400", "2e-05", "linear".
[[nodiscard]] std::string setting_text(std::int64_t value);
[[nodiscard]] std::string setting_text(std::uint64_t value);
[[nodiscard]] std::string setting_text(double value);  // reads back as the same double
[[nodiscard]] std::string setting_text(bool value);
[[nodiscard]] std::string setting_text(const std::filesystem::path& value);
template <typename Enum>
  requires std::is_enum_v<Enum>
[[nodiscard]] std::string setting_text(Enum value) {
  return std::string(to_string(value));
}

/// Name of a setting's option: "--batch-size".
[[nodiscard]] std::string option_name(std::string_view setting);

/// Gives what `settings` leaves open and `others` gives.
void fill_in(TrainingSettings& settings, const TrainingSettings& others);

/// What is given, as options of `longrope finetune`. A flag is there when it is true.
[[nodiscard]] std::vector<std::string> command_line(const TrainingSettings& settings);

/// What is given, by name: numbers, booleans and words. For the manifest of a hand-off.
[[nodiscard]] nlohmann::ordered_json given_settings(const TrainingSettings& settings);

/// What is given and SettingIdentity::kValue, by name: what a stage that has begun is held to.
[[nodiscard]] nlohmann::json stage_identity(const TrainingSettings& settings);

/// Everything that is SettingIdentity::kValue, given or not, by name: what a training state is held to, beside digests.
[[nodiscard]] nlohmann::json training_identity(const TrainingSettings& settings);

}  // namespace longrope
