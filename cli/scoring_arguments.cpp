#include "cli/scoring_arguments.h"

#include "cli/command.h"
#include "cli/model_argument.h"
#include "cli/score_progress.h"

#include <atomic>

namespace longrope {

void add_scoring_options(CLI::App& command, ScoringArguments& arguments) {
  add_model(command, arguments.model);
  add_reached_length(command, arguments.reached_length);
  command
      .add_option("--documents", arguments.documents,
                  "Documents file, written by longrope documents or tools/prepare_documents.py")
      ->required();
  command.add_option("--count", arguments.count, "Use only the first COUNT documents of the file [all]")
      ->check(CLI::Range(1, 1 << 30));
  command
      .add_option("--dtype", arguments.dtype,
                  "Numbers of the weights: fp32, or bf16 for half the memory and rounded weights")
      ->capture_default_str();
  command
      .add_option("--angles", arguments.angles,
                  "Arithmetic of the rotary angles: fp64, or hf_fp32 to round as Hugging Face transformers does")
      ->capture_default_str();
  command.add_option("--device", arguments.device, "cpu, cuda or cuda:N (CUDA has not been run on a GPU yet)")
      ->capture_default_str();
  command.add_option("--threads", arguments.threads, "CPU threads")->check(CLI::Range(1, 4096))->capture_default_str();
  add_memory_budget(command, arguments.memory_budget);
}

ScorerOptions scorer_options(const ScoringArguments& arguments) {
  ScorerOptions options;
  options.device = arguments.device;
  options.dtype = parse_compute_dtype(arguments.dtype);
  options.angles = parse_angle_mode(arguments.angles);
  options.threads = arguments.threads;
  options.memory_budget = arguments.memory_budget;
  return options;
}

std::vector<Document> documents_to_score(const ScoringArguments& arguments) {
  std::vector<Document> documents = read_documents_for(arguments.documents, arguments.model).documents;
  if (arguments.count && *arguments.count < static_cast<std::int64_t>(documents.size())) {
    documents.resize(static_cast<std::size_t>(*arguments.count));
  }
  return documents;
}

std::int64_t expected_progress(const PerplexityScorer& scorer, std::span<const ScoringTask> tasks) {
  std::int64_t expected = 0;
  for (const ScoringTask& task : tasks) {
    const auto candidates = static_cast<std::int64_t>(task.factors.size());
    expected += task.gradient ? candidates * scorer.expected_gradient_progress(*task.document, task.length)
                              : scorer.expected_progress(candidates, task.fitness, *task.document, task.length);
  }
  return expected;
}

std::vector<TaskResults> measure_tasks(PerplexityScorer& scorer, std::span<const ScoringTask> tasks,
                                       std::int64_t expected) {
  std::atomic<std::int64_t> progress{0};
  const ScoreProgress display(progress, expected);
  return measure_tasks(tasks, [&](const ScoringTask& task) -> TaskResults {
    if (task.gradient) {
      TaskResults results;
      for (const RescaleFactors& factors : task.factors) {
        results.push_back(scorer.differentiate(factors, *task.document, task.length, progress));
      }
      return results;
    }
    return scorer.measure(task.factors, task.fitness, *task.document, task.length, progress);
  });
}

}  // namespace longrope
