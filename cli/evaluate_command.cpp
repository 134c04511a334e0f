#include "cli/command.h"
#include "cli/model_argument.h"
#include "cli/scoring_arguments.h"
#include "common/documents/documents.h"
#include "common/error.h"
#include "common/files/write_file.h"
#include "evaluation/evaluated_methods.h"
#include "evaluation/evaluation.h"
#include "evaluation/evaluation_csv.h"
#include "evaluation/evaluation_documents.h"
#include "evaluation/evaluation_json.h"
#include "evaluation/evaluation_markdown.h"
#include "worker/scoring/perplexity_scorer.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace longrope {
namespace {

struct EvaluateArguments {
  ScoringArguments scoring;
  std::vector<std::int64_t> lengths;
  std::vector<std::string> factors;
  std::string sliding;
  std::vector<std::string> passkeys;
  std::vector<std::string> needles;
  bool json = false;
  std::string json_out;
  std::string markdown_out;
  std::string csv_out;
};

/// Sliding windows from "WINDOW:STRIDE", as in "32768:256".
Fitness parse_sliding(const std::string& text, std::int64_t longest) {
  Fitness fitness{.kind = FitnessKind::kSliding};
  const char* const end = text.data() + text.size();
  const auto [colon, window_error] = std::from_chars(text.data(), end, fitness.window);
  if (window_error == std::errc() && colon != end && *colon == ':') {
    const auto [rest, stride_error] = std::from_chars(colon + 1, end, fitness.stride);
    if (stride_error == std::errc() && rest == end) {
      try {
        require_windows(fitness, longest);
      } catch (const InputError& error) {
        throw InputError(fmt::format("{} (--sliding)", error.what()));
      }
      return fitness;
    }
  }
  throw InputError(fmt::format("sliding windows must be WINDOW:STRIDE, as in 32768:256: {} (--sliding)", text));
}

void evaluate(const EvaluateArguments& arguments) {
  const ScoringArguments& scoring = arguments.scoring;
  // Whatever can be refused is refused before the weights are read.
  for (const std::string& file : {arguments.json_out, arguments.markdown_out, arguments.csv_out}) {
    if (!file.empty()) require_writable_place(file);
  }
  const ScorerOptions options = scorer_options(scoring);
  EvaluationPlan plan;
  plan.lengths = arguments.lengths;
  require_different(plan.lengths, "lengths", "--lengths");
  std::ranges::sort(plan.lengths);
  if (!arguments.sliding.empty()) plan.sliding = parse_sliding(arguments.sliding, plan.lengths.back());
  plan.methods = evaluated_methods(arguments.factors);
  const ModelDescription model = described_model(scoring.model, scoring.reached_length);
  plan.documents = documents_to_score(scoring);
  for (const std::int64_t length : plan.lengths) {
    require_measurable({}, plan.documents, scoring.documents, length, model.vocabulary);
  }
  RetrievalDocuments retrieval;
  read_retrieval_documents(RetrievalKind::kPasskey, arguments.passkeys, model, retrieval);
  read_retrieval_documents(RetrievalKind::kNeedle, arguments.needles, model, retrieval);
  plan.retrieval = std::move(retrieval.documents);
  EvaluationReport report;
  report.documents = evaluated_file(scoring.documents, plan.documents);
  report.retrieval_files = std::move(retrieval.files);
  report.dtype = scoring.dtype;
  report.angles = scoring.angles;
  report.threads = scoring.threads;
  const Evaluation evaluation(std::move(plan), model);

  PerplexityScorer scorer(scoring.model, options);
  report.model = {.name = model.name,
                  .digest = model_digest(scoring.model),
                  .original_length = model.geometry.original_length,
                  .reached_length = model.scaling.reached_length};
  report.device = scorer.device_description();
  const std::vector<ScoringTask> tasks = evaluation.tasks();
  const std::int64_t expected = expected_progress(scorer, tasks);
  evaluation.fill(report, measure_tasks(scorer, tasks, expected));
  if (!arguments.json_out.empty()) write_file_atomically(arguments.json_out, to_json(report));
  if (!arguments.markdown_out.empty()) write_file_atomically(arguments.markdown_out, to_markdown(report));
  if (!arguments.csv_out.empty()) write_file_atomically(arguments.csv_out, to_csv(report));
  // Last: a reader that has closed its end must not cost the files.
  std::cout << (arguments.json ? to_json(report) : to_markdown(report)) << std::flush;
}

}  // namespace

void add_evaluate_command(CLI::App& app) {
  auto* command = app.add_subcommand("evaluate", "Compare a model, PI, NTK, YaRN and your factors at several lengths");
  auto arguments = std::make_shared<EvaluateArguments>();
  add_scoring_options(*command, arguments->scoring);
  in_tokens(
      command->add_option("--lengths,--length", arguments->lengths,
                          "Tokens of each document, its first (BOS) included: 512,4k,… Each length is measured alone"))
      ->required()
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::Range(std::int64_t{2}, std::int64_t{1} << 31));
  command
      ->add_option(
          "--factors", arguments->factors,
          "Also measure the factors of this file: canonical JSON, the authors' CSV, or a Hugging Face config.json. "
          "The report calls them by the file's name without its ending; may be given several times")
      ->allow_extra_args(false);
  command->add_option(
      "--sliding", arguments->sliding,
      "WINDOW:STRIDE in tokens: also measure perplexity in sliding windows, at the lengths that hold one");
  command
      ->add_option(
          "--passkey", arguments->passkeys,
          "Also measure how many pass keys are found in these documents (tools/prepare_documents.py --kind passkey), "
          "each at its own length; may be given several times")
      ->allow_extra_args(false);
  command->add_option("--needle", arguments->needles, "The same for needles (tools/prepare_documents.py --kind needle)")
      ->allow_extra_args(false);
  command->add_flag("--json", arguments->json, "Print JSON instead of Markdown");
  command->add_option("--json-out", arguments->json_out, "Also write JSON to this file");
  command->add_option("--markdown-out", arguments->markdown_out, "Also write Markdown to this file");
  command->add_option("--csv-out", arguments->csv_out, "Also write CSV to this file");
  command->footer(
      "Example:\n  longrope evaluate --model models/byte-llama --documents heldout.safetensors --lengths "
      "512,1024,4096 \\\n    --factors best.json --passkey passkeys.safetensors --csv-out evaluation.csv");
  command->callback([=] { evaluate(*arguments); });
}

}  // namespace longrope
