#include "cli/command.h"
#include "cli/model_argument.h"
#include "cli/scoring_arguments.h"
#include "common/documents/documents.h"
#include "common/error.h"
#include "common/files/write_file.h"
#include "common/formats/named_factors.h"
#include "evaluation/score_plan.h"
#include "evaluation/score_report.h"
#include "worker/scoring/perplexity_scorer.h"

#include <fmt/format.h>

#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace longrope {
namespace {

struct ScoreArguments {
  ScoringArguments scoring;
  std::vector<std::int64_t> lengths;
  std::string fitness = "perplexity";
  std::optional<std::int64_t> window;
  std::optional<std::int64_t> stride;
  bool no_bos = false;
  std::vector<std::string> factors = {"none"};
  std::string attention_factor;
  bool sliding_window = false;
  bool gradient = false;
  bool timings = false;
  std::string by_position;
  std::string logits_out;
  bool json = false;
};

Fitness parse_fitness(const ScoreArguments& arguments) {
  Fitness fitness;
  try {
    fitness.kind = parse_fitness_kind(arguments.fitness);
  } catch (const InputError& error) {
    throw InputError(fmt::format("{} (--fitness)", error.what()));
  }
  if (fitness.kind == FitnessKind::kSliding) {
    if (!arguments.window) throw InputError("sliding needs a window: none is given (--window)");
    if (!arguments.stride) throw InputError("sliding needs a stride: none is given (--stride)");
    fitness.window = *arguments.window;
    fitness.stride = *arguments.stride;
    fitness.repeat_first_token = !arguments.no_bos;
  } else if (arguments.window || arguments.stride || arguments.no_bos) {
    throw InputError(fmt::format("--window, --stride and --no-bos belong to the fitness sliding: {} (--fitness)",
                                 arguments.fitness));
  }
  return fitness;
}

/// Refuses lengths, windows and factors before anything is computed: what holds for one length may not for the next.
void require_lengths_and_factors(const ScoreArguments& arguments, const Fitness& fitness) {
  const std::vector<std::int64_t>& lengths = arguments.lengths;
  require_different(lengths, "lengths", "--length");
  for (const std::int64_t length : lengths) {
    try {
      require_windows(fitness, length);
    } catch (const InputError& error) {
      throw InputError(fmt::format("{} (--window, --stride)", error.what()));
    }
  }
  const std::vector<std::string>& factors = arguments.factors;
  require_different(factors, "factors", "--factors");
  if (!arguments.logits_out.empty() &&
      (lengths.size() > 1 || factors.size() > 1 || fitness.kind == FitnessKind::kSliding)) {
    throw InputError(
        fmt::format("logits are written for one pass over one length under one factor set: {} lengths, {} sets, "
                    "fitness {} (--logits-out)",
                    lengths.size(), factors.size(), arguments.fitness));
  }
}

/// All factors are made, and may be refused, before the first is used.
ScorePlan score_plan(const ScoreArguments& arguments, const Fitness& fitness, const ModelDescription& model) {
  ScorePlan plan;
  plan.fitness = fitness;
  plan.gradient = arguments.gradient;
  plan.names = arguments.factors;
  plan.lengths = arguments.lengths;
  plan.documents = documents_to_score(arguments.scoring);
  for (const std::int64_t length : plan.lengths) {
    require_measurable(fitness, plan.documents, arguments.scoring.documents, length, model.vocabulary);
  }
  for (const std::int64_t length : plan.lengths) {
    std::vector<RescaleFactors>& factors = plan.factors.emplace_back();
    for (const std::string& name : plan.names) {
      factors.push_back(named_factors(name, arguments.attention_factor, model, longest_context(fitness, length)));
    }
  }
  return plan;
}

void score(const ScoreArguments& arguments) {
  const Fitness fitness = parse_fitness(arguments);
  require_lengths_and_factors(arguments, fitness);
  if (arguments.gradient && fitness.kind != FitnessKind::kPerplexity) {
    throw InputError(fmt::format("only the fitness perplexity has a gradient: {} (--gradient)", arguments.fitness));
  }
  for (const std::string& file : {arguments.by_position, arguments.logits_out}) {
    if (!file.empty()) require_writable_place(file);
  }
  ScorerOptions options = scorer_options(arguments.scoring);
  options.sliding_window = arguments.sliding_window;
  options.time_phases = arguments.timings;
  const ModelDescription model = described_model(arguments.scoring.model, arguments.scoring.reached_length);
  PerplexityScorer scorer(arguments.scoring.model, options);
  const ScorePlan plan = score_plan(arguments, fitness, model);
  const std::vector<ScoringTask> tasks = scoring_tasks(plan);
  const std::int64_t expected = expected_progress(scorer, tasks);
  if (!arguments.logits_out.empty()) {
    scorer.write_logits(plan.factors.front().front(), plan.documents.front(), plan.lengths.front(),
                        arguments.logits_out);
  }
  const ScoreReport report = {.fitness = fitness,
                              .model = scorer.model().name,
                              .device = scorer.device_description(),
                              .dtype = arguments.scoring.dtype,
                              .angles = arguments.scoring.angles,
                              .threads = arguments.scoring.threads,
                              .sliding_window = scorer.model().sliding_window(),
                              .timings = arguments.timings,
                              .factors = scored_factors(plan, measure_tasks(scorer, tasks, expected))};
  if (arguments.json) {
    write_json(report, std::cout);
  } else {
    write_table(report, std::cout);
  }
  if (!arguments.by_position.empty()) write_file_atomically(arguments.by_position, by_position_csv(report));
}

}  // namespace

void add_score_command(CLI::App& app) {
  auto* command = app.add_subcommand("score", "Measure perplexity or accuracy on documents under given factors");
  auto arguments = std::make_shared<ScoreArguments>();
  add_scoring_options(*command, arguments->scoring);
  in_tokens(command->add_option("--length,--lengths", arguments->lengths,
                                "Tokens to score of each document, its first (BOS) included; several: 512,4k"))
      ->required()
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::Range(std::int64_t{2}, std::int64_t{1} << 31));
  command
      ->add_option(
          "--fitness", arguments->fitness,
          "What to measure. perplexity: in one pass; sliding: perplexity in windows; accuracy: right answers to the "
          "needles or pass keys that a document's mask marks")
      ->capture_default_str();
  command->add_option("--window", arguments->window, "For sliding: tokens of a window, its first (BOS) included");
  command->add_option("--stride", arguments->stride,
                      "For sliding: tokens from the beginning of a window to that of the next");
  command->add_flag("--no-bos", arguments->no_bos,
                    "For sliding: do not begin each window with the document's first token (BOS)");
  command
      ->add_option("--factors", arguments->factors,
                   fmt::format("{}. May be given several times: all are then measured side by side", kFactorsHelp))
      ->allow_extra_args(false)
      ->capture_default_str();
  command->add_option("--attention-factor", arguments->attention_factor, kAttentionFactorHelp);
  command->add_flag(
      "--sliding-window", arguments->sliding_window,
      "Let the model attend only within its own sliding windows; without this, as in a search, every layer "
      "sees the whole document");
  command->add_option("--by-position", arguments->by_position,
                      "Also write a CSV file of perplexity by position, in blocks of 4,096 tokens");
  command->add_option("--logits-out", arguments->logits_out,
                      "Also write the logits of the first document (fp32, safetensors), to compare with other engines");
  command->add_flag("--gradient", arguments->gradient,
                    "Also show the gradient of the NLL with respect to ln λ of each pair and ln m; each document then "
                    "takes about four times as long");
  command->add_flag("--timings", arguments->timings,
                    "Also show what the time was spent on: reading weights, attention, matrix products, …");
  command->add_flag("--json", arguments->json,
                    "Print JSON instead of a table, with sums for each block of 4,096 tokens");
  command->footer(
      "Example:\n  longrope score --model models/byte-llama --documents heldout.safetensors --length 4096 "
      "--factors yarn --attention-factor none\n"
      "  longrope score --model models/byte-llama --documents heldout.safetensors --length 4096 --factors none "
      "--factors yarn\n"
      "  longrope score --model DIR --documents books.safetensors --length 131072 --fitness sliding --window 32768 "
      "--stride 256");
  command->callback([=] { score(*arguments); });
}

}  // namespace longrope
