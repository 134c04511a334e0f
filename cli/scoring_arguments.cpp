#include "cli/scoring_arguments.h"

#include "cli/command.h"

#include <utility>

namespace longrope {

void add_scoring_options(CLI::App& command, ScoringArguments& arguments) {
  command.add_option("--model", arguments.model, "Hugging Face model directory")->required();
  command
      .add_option("--documents", arguments.documents, "Documents file (longrope documents, tools/prepare_documents.py)")
      ->required();
  command.add_option("--count", arguments.count, "First COUNT documents of the file [all]")
      ->check(CLI::Range(1, 1 << 30));
  command.add_option("--dtype", arguments.dtype, "fp32 or bf16")->capture_default_str();
  command.add_option("--angles", arguments.angles, "fp64, or hf_fp32 as Hugging Face multiplies")
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

void require_measurable(const Fitness& fitness, std::span<const Document> documents, const std::filesystem::path& path,
                        std::int64_t length, std::int64_t vocabulary) {
  for (const Document& document : documents) {
    try {
      require_measurable(fitness, document, length, vocabulary);
    } catch (const InputError& error) {
      throw InputError(fmt::format("{} ({})", error.what(), path.native()));
    }
  }
}

}  // namespace longrope
