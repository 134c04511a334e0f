#pragma once

#include "common/formats/engine.h"
#include "common/formats/factors_file.h"
#include "common/model/model_description.h"
#include "common/rope/plain_rope.h"
#include "common/rope/rescale_factors.h"

#include <cstdint>
#include <optional>
#include <string>

namespace longrope {

/// The part of a length schedule that engines can express: one table up to a length, another beyond it (spec §8).
struct EngineTables {
  struct ShortTable {
    RescaleFactors factors;       // [rotary_dim / 2]
    std::int64_t max_length = 0;  // tokens in total, inclusive; beyond it engines take the long table
  };
  RescaleFactors factors;                 // [rotary_dim / 2] the long table
  std::int64_t target_length = 0;         // the longest sequence the long table is for, in tokens
  std::optional<ShortTable> short_table;  // nullopt: what the model has already, up to the length that it reaches
  /// `factors` as one rule of few numbers, written in place of both tables; form_for_engine() sets it.
  std::optional<PlainRope> plain = std::nullopt;
  std::optional<Engine> engine = std::nullopt;  // whose names m is written under, beside attention_factor
};

/// The tables of a factors file: the long one is the schedule's last, the short one is what the schedule has for
/// `original_length` tokens, or if that is the long one, the step before it. Without a schedule the only entry.
/// Throws InputError naming `place` for several entries without a schedule.
[[nodiscard]] EngineTables engine_tables(const FactorsFile& file, std::int64_t original_length,
                                         const std::string& place);
/// A warning that names the two tables which are exported, for a schedule with more; nullopt otherwise.
[[nodiscard]] std::optional<std::string> tables_left_out(const FactorsFile& file, std::int64_t original_length);

/// Throws InputError for factors that no engine can express (n_hat > 0), or that do not fit the model.
void require_expressible(const RescaleFactors& factors, const ModelDescription& model);
/// The same for both tables, and for their lengths. Without a short table the target length must be above what the
/// model reaches; with one it must be above the short table's and at least what the model reaches, so that no length
/// that the model was made for is lost.
void require_expressible(const EngineTables& tables, const ModelDescription& model);
/// transformers, llama.cpp and mlx-lm multiply cos and sin by one number, whichever table they take. Throws InputError,
/// with advice, if the two tables have attention factors of their own.
void require_one_attention_factor(const EngineTables& tables);

}  // namespace longrope
