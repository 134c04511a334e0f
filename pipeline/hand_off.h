#pragma once

#include "common/rope/rescale_factors.h"
#include "config/training_settings.h"
#include "pipeline/checkpoints.h"

#include <cstdint>
#include <filesystem>
#include <string>

namespace longrope {

/// What somebody else needs to fine-tune a model under factors (design §8, spec §10).
struct HandOff {
  std::string stage;                // name of the fine-tuning stage
  std::filesystem::path model;      // checkpoint directory of the model to train further
  std::string model_digest;         // model_digest() of `model`
  std::filesystem::path documents;  // samples to train on; empty: the user has their own
  RescaleFactors factors;           // total λ: it divides the original frequencies
  std::int64_t target_length = 0;   // tokens that `factors` are for
  std::int64_t length = 0;          // tokens of each sample
  TrainingSettings settings;        // those given are recommended; `target` is the trainer's version of transformers
  std::string completion;           // the command that takes the checkpoint back
};

/// Writes the folder `out`, whole: `model/`, a Hugging Face directory with the weights of the model (hard links) and
/// the factors in config.json for documents of every length, as fine-tuning wants it (spec §10); `factors.json`,
/// `factors.csv`; `manifest.json` with digests and settings. A folder that is there already is kept: it was written
/// whole. Throws InputError as export_fine_tuned(), and Error when it cannot write.
void write_hand_off(const HandOff& hand_off, const std::filesystem::path& out, Checkpoints& checkpoints);

/// Throws InputError, naming the rule, unless `checkpoint` can have been trained from the hand-off in `folder`: the
/// same architecture, tensors and shapes, heads, rope_theta, factors, original and reached length; weights that are not
/// those handed off; and the tokenizer.json handed off, if there is one, byte for byte, because documents name their
/// tokenizer by its digest.
void require_trained_from(const std::filesystem::path& folder, const std::filesystem::path& checkpoint,
                          Checkpoints& checkpoints);

}  // namespace longrope
