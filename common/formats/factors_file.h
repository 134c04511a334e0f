#pragma once

#include "common/rope/closed_form_factors.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace longrope {

struct ModelDescription;

/// The canonical factors file, `longrope-factors/1` (schemas/factors_file.md; spec §8).
struct FactorsFile {
  struct Model {
    std::string id;
    std::string sha256;  // model digest, empty when unknown
    std::int64_t head_dim = 0;
    RotaryGeometry geometry;
  };
  struct Fitness {
    std::string name;  // "perplexity"
    double value = 0.0;
    std::string dataset_digest;
    std::int64_t samples = 0;
    std::string dtype;
  };
  struct Entry {
    std::string id;
    std::int64_t target_length = 0;  // tokens
    RescaleFactors factors;
    std::vector<std::string> composed_from;  // ids of the entries whose λ were multiplied
    std::optional<Fitness> fitness;
  };
  struct ScheduleStep {
    std::int64_t max_length = 0;  // tokens in total, inclusive
    std::string factors_id;
  };
  std::optional<Model> model;
  std::vector<Entry> entries;
  std::vector<ScheduleStep> schedule;  // which entry a sequence gets (length_schedule.h); empty: no schedule
};

/// What a factors file says about a model; `sha256` is its digest, empty when unknown.
[[nodiscard]] FactorsFile::Model factors_model(const ModelDescription& model, std::string sha256);

// λ survives both formats bit-exactly (shortest round-trip decimals). All readers treat the file as hostile: size limit
// 16 MiB, strict JSON with depth and duplicate-key checks, InputError naming file and line or key.
[[nodiscard]] FactorsFile read_factors_json(const std::filesystem::path& path);
void write_factors_json(const FactorsFile& file, const std::filesystem::path& path);

/// The authors' CSV, which carries λ only: n_hat > 0 is refused with InputError, and the attention factor is dropped.
/// `rows`: how many equal rows to write, one for each layer; nullopt: one factor per line.
void write_factors_csv(const RescaleFactors& factors, const std::filesystem::path& path,
                       std::optional<std::int64_t> rows = std::nullopt);

/// λ, n_hat and attention factor of a file in any of these forms, which are told apart by content: canonical JSON (its
/// entry for `total_length`: entry_for() of length_schedule.h); config.json of Hugging Face with rope_scaling or
/// rope_parameters of type longrope (its short_factor up to the original length, else its long_factor;
/// parse_longrope_tables() of rope_scaling.h); overrides of it for vLLM or axolotl (engine_overrides.h); the authors'
/// CSV, one factor per line or one row per layer (all equal), read as n_hat 0 and attention factor none. Throws
/// InputError for a file that is none of these.
[[nodiscard]] RescaleFactors read_factors(const std::filesystem::path& path,
                                          std::optional<std::int64_t> total_length = std::nullopt);

/// The short_factor of a config.json or of overrides of it, and the longest sequence that takes it.
struct ShortFactors {
  RescaleFactors factors;
  std::int64_t max_length = 0;
};
/// nullopt for other forms, and where the original length or short_factor is absent.
[[nodiscard]] std::optional<ShortFactors> read_short_factors(const std::filesystem::path& path);

}  // namespace longrope
