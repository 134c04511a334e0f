#pragma once

#include "common/documents/documents.h"
#include "common/model/model_description.h"
#include "common/rope/rescale_factors.h"
#include "common/rope/rotary_table.h"
#include "common/wire/score_result.h"
#include "worker/scoring/fitness.h"

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace longrope {

struct ScorerOptions {
  /// Default: "cpu". "cuda" and "cuda:N" are the others; docs/cuda.md says what has run there.
  std::string device = "cpu";
  /// Default: kFp32. kBf16: weights are rounded to bfloat16. CUDA devices compute in bfloat16; CPUs with AVX512-BF16
  /// multiply bfloat16 numbers and compute everything else in float32; other CPUs compute in float32, which is then
  /// both faster and more exact. device_description() says which.
  ComputeDtype dtype = ComputeDtype::kFp32;
  /// Default: kFp64. The precision of angles; kHfFp32 rounds as Hugging Face does.
  AngleMode angles = AngleMode::kFp64;
  /// Default: 1. Threads of the whole process, from 1 to 1,024.
  std::int64_t threads = 1;
  /// Default: false. Whether layers with a sliding window keep to it. Without, every layer sees the whole document, as
  /// the authors of LongRoPE searched and fine-tuned, and as exports are written.
  bool sliding_window = false;
  /// Default: 0, what the device or the machine can give when the scorer is made. Bytes for weights and one document,
  /// on a CUDA device of its memory, else of the host's beyond the process itself. Weights that would take more than
  /// half of it stay in their files (for a device, in the host's memory when half of that admits), and a document that
  /// does not fit is refused (worker/model/memory_estimate.h).
  std::int64_t memory_budget = 0;
  /// Default: false. Whether FitnessResult::phases is filled. On CUDA every step then waits for the device, which costs
  /// time.
  bool time_phases = false;
};

/// Loads one checkpoint and scores documents with it. Header free of Torch, so that only a few sources compile it.
/// One thread at a time may call score(); `progress` may be read from another. Equal inputs give equal bits in every
/// process with the same device and Torch, for any `threads` where the CPU kernels compute (device_description() names
/// them); `threads` sets Torch's thread count for the whole process.
class PerplexityScorer {
 public:
  /// Throws InputError for a checkpoint that cannot be run: missing shard, shape mismatch, unsupported architecture.
  PerplexityScorer(const std::filesystem::path& model_directory, const ScorerOptions& options);
  ~PerplexityScorer();

  /// The model as it is run: without sliding windows unless the options keep them.
  [[nodiscard]] const ModelDescription& model() const;
  /// Torch version, device name, compute dtype: provenance for the workers table.
  [[nodiscard]] std::string device_description() const;

  /// Measures the first `length` tokens of `document` under each candidate's factors, as many candidates at once as the
  /// budget allows: they share what does not depend on factors, and the time is split evenly between them. Results
  /// have the bits of one candidate at a time where the CPU kernels compute. `progress` is incremented by every
  /// finished tile of work, so that a heartbeat can tell a slow worker from a hung one. A non-finite NLL is returned as
  /// it is; the caller decides what it means. Throws InputError (document, fitness or factors do not fit the model),
  /// MemoryError (the estimate exceeds the budget) or std::bad_alloc.
  [[nodiscard]] std::vector<FitnessResult> measure(std::span<const RescaleFactors> candidates, const Fitness& fitness,
                                                   const Document& document, std::int64_t length,
                                                   std::atomic<std::int64_t>& progress);
  /// The coordinator's fitness: measure() of one candidate with FitnessKind::kPerplexity.
  [[nodiscard]] ScoreResult score(const RescaleFactors& factors, const Document& document, std::int64_t length,
                                  std::atomic<std::int64_t>& progress);
  /// score(), and the gradient of its NLL sum with respect to ln λ of each pair and ln m, in FitnessResult::gradient:
  /// one forward pass more for each layer's backward pass, and about two for that. Throws as score(), and InputError
  /// where the CPU kernels do not compute.
  [[nodiscard]] FitnessResult differentiate(const RescaleFactors& factors, const Document& document,
                                            std::int64_t length, std::atomic<std::int64_t>& progress);
  /// The amount by which measure() of so many candidates increments `progress`: tiles of work, each of which takes
  /// about as long as the others of its layer. Throws InputError as measure().
  [[nodiscard]] std::int64_t expected_progress(std::int64_t candidates, const Fitness& fitness,
                                               const Document& document, std::int64_t length) const;

  /// The same for differentiate().
  [[nodiscard]] std::int64_t expected_gradient_progress(const Document& document, std::int64_t length) const;

  /// Writes the logits of the first `length` tokens as safetensors: "logits", float32 [length, vocabulary]. For
  /// comparing with other engines; errors as score(), and InputError when the tensor would exceed 1 GiB.
  void write_logits(const RescaleFactors& factors, const Document& document, std::int64_t length,
                    const std::filesystem::path& path);

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace longrope
