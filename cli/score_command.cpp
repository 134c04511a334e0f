#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cli/command.h"
#include "cli/named_factors.h"
#include "cli/score_progress.h"
#include "cli/score_report.h"
#include "common/documents.h"
#include "common/error.h"
#include "common/write_file.h"
#include "worker/scoring/perplexity_scorer.h"

namespace longrope {
namespace {

struct ScoreArguments {
  std::string model;
  std::string documents;
  std::vector<std::int64_t> lengths;
  std::string fitness = "perplexity";
  std::optional<std::int64_t> window;
  std::optional<std::int64_t> stride;
  bool no_bos = false;
  std::vector<std::string> factors = {"none"};
  std::string attention_factor;
  std::string dtype = "fp32";
  std::string angles = "fp64";
  std::string device = "cpu";
  std::int64_t threads = 1;
  bool sliding_window = false;
  std::int64_t memory_budget = 0;
  bool timings = false;
  std::optional<std::int64_t> count;
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

template <typename Value>
void require_different(const std::vector<Value>& values, std::string_view what, std::string_view option) {
  for (auto value = values.begin(); value != values.end(); ++value) {
    if (std::find(values.begin(), value, *value) != value) {
      throw InputError(fmt::format("{} must differ: {} ({})", what, *value, option));
    }
  }
}

/// Before anything is computed: what holds for one length may not hold for the next.
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
        fmt::format("logits are of one pass over one length under one factor set: {} lengths, {} sets, fitness {} "
                    "(--logits-out)",
                    lengths.size(), factors.size(), arguments.fitness));
  }
}

std::vector<Document> documents_to_score(const ScoreArguments& arguments, const Fitness& fitness,
                                         std::int64_t vocabulary) {
  DocumentsFile file = read_documents(arguments.documents);
  require_tokenizer(file, arguments.documents, arguments.model);
  std::vector<Document> documents = std::move(file.documents);
  if (arguments.count && *arguments.count < static_cast<std::int64_t>(documents.size())) {
    documents.resize(static_cast<std::size_t>(*arguments.count));
  }
  for (const Document& document : documents) {
    for (const std::int64_t length : arguments.lengths) {
      try {
        require_measurable(fitness, document, length, vocabulary);
      } catch (const InputError& error) {
        throw InputError(fmt::format("{} ({})", error.what(), arguments.documents));
      }
    }
  }
  return documents;
}

/// Every factor set of the command line. Closed forms are those of the longest context that the model sees.
std::vector<RescaleFactors> factors_for(const ScoreArguments& arguments, const Fitness& fitness, std::int64_t length,
                                        const ModelDescription& model) {
  std::vector<RescaleFactors> factors;
  for (const std::string& name : arguments.factors) {
    factors.push_back(named_factors(name, arguments.attention_factor, model,
                                    fitness.kind == FitnessKind::kSliding ? fitness.window : length));
  }
  return factors;
}

std::vector<ScoredFactors> scored_factors(const ScoreArguments& arguments, const Fitness& fitness,
                                          PerplexityScorer& scorer, const std::vector<Document>& documents) {
  std::vector<std::vector<RescaleFactors>> factors;  // of each length: all are checked before the first is used
  const auto sets = static_cast<std::int64_t>(arguments.factors.size());
  std::int64_t expected = 0;
  for (const std::int64_t length : arguments.lengths) {
    factors.push_back(factors_for(arguments, fitness, length, scorer.model()));
    for (const Document& document : documents) expected += scorer.expected_progress(sets, fitness, document, length);
  }
  if (!arguments.logits_out.empty()) {
    scorer.write_logits(factors.front().front(), documents.front(), arguments.lengths.front(), arguments.logits_out);
  }
  std::atomic<std::int64_t> progress{0};
  const ScoreProgress display(progress, expected);
  std::vector<ScoredFactors> scored;
  for (const std::string& name : arguments.factors) scored.push_back({.name = name, .lengths = {}});
  for (std::size_t index = 0; index < factors.size(); ++index) {
    const std::int64_t length = arguments.lengths[index];
    for (std::size_t set = 0; set < scored.size(); ++set) {
      scored[set].lengths.push_back(
          {.length = length, .attention_factor = factors[index][set].attention.value, .documents = {}});
    }
    for (const Document& document : documents) {
      std::vector<FitnessResult> results = scorer.measure(factors[index], fitness, document, length, progress);
      for (std::size_t set = 0; set < scored.size(); ++set) {
        if (!std::isfinite(results[set].score.nll_sum)) {
          throw Error(fmt::format("NLL must be finite: document {} at {} tokens under factors {}", document.name,
                                  length, scored[set].name));
        }
        scored[set].lengths.back().documents.push_back({document.name, std::move(results[set])});
      }
    }
  }
  return scored;
}

void score(const ScoreArguments& arguments) {
  const Fitness fitness = parse_fitness(arguments);
  require_lengths_and_factors(arguments, fitness);
  const ScorerOptions options{arguments.device,
                              parse_compute_dtype(arguments.dtype),
                              parse_angle_mode(arguments.angles),
                              arguments.threads,
                              arguments.sliding_window,
                              arguments.memory_budget,
                              arguments.timings};
  PerplexityScorer scorer(arguments.model, options);
  const std::vector<Document> documents = documents_to_score(arguments, fitness, scorer.model().vocabulary);
  const ScoreReport report = {.fitness = fitness,
                              .model = scorer.model().name,
                              .device = scorer.device_description(),
                              .dtype = arguments.dtype,
                              .angles = arguments.angles,
                              .threads = arguments.threads,
                              .sliding_window = scorer.model().sliding_window(),
                              .timings = arguments.timings,
                              .factors = scored_factors(arguments, fitness, scorer, documents)};
  if (arguments.json) {
    write_json(report, std::cout);
  } else {
    write_table(report, std::cout);
  }
  if (!arguments.by_position.empty()) write_file_atomically(arguments.by_position, by_position_csv(report));
}

}  // namespace

void add_score_command(CLI::App& app) {
  auto* command = app.add_subcommand("score", "Score documents under given factors, without a coordinator");
  auto arguments = std::make_shared<ScoreArguments>();
  command->add_option("--model", arguments->model, "Hugging Face model directory")->required();
  command
      ->add_option("--documents", arguments->documents,
                   "Documents file (longrope documents, tools/prepare_documents.py)")
      ->required();
  command
      ->add_option("--length", arguments->lengths, "Tokens of each document to score, BOS included; several: 512,4096")
      ->required()
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::Range(std::int64_t{2}, std::int64_t{1} << 31));
  command
      ->add_option("--fitness", arguments->fitness,
                   "perplexity: one pass; sliding: in windows; accuracy: answers that the mask marks (needle, passkey)")
      ->capture_default_str();
  command->add_option("--window", arguments->window, "sliding: tokens of a window, BOS included");
  command->add_option("--stride", arguments->stride, "sliding: tokens from a window to the next");
  command->add_flag("--no-bos", arguments->no_bos, "sliding: do not begin each window with the document's first token");
  command
      ->add_option("--factors", arguments->factors,
                   fmt::format("{}; given several times, all sets are scored beside each other", kFactorsHelp))
      ->allow_extra_args(false)
      ->capture_default_str();
  command->add_option("--attention-factor", arguments->attention_factor, kAttentionFactorHelp);
  command->add_option("--dtype", arguments->dtype, "fp32 or bf16")->capture_default_str();
  command->add_option("--angles", arguments->angles, "fp64, or hf_fp32 as Hugging Face multiplies")
      ->capture_default_str();
  command->add_option("--device", arguments->device, "cpu, cuda or cuda:N (CUDA has not been run on a GPU yet)")
      ->capture_default_str();
  command->add_option("--threads", arguments->threads, "CPU threads")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  add_memory_budget(*command, arguments->memory_budget);
  command->add_flag("--sliding-window", arguments->sliding_window,
                    "Keep to the model's sliding windows; a search never does");
  command->add_option("--count", arguments->count, "First COUNT documents of the file [all]")
      ->check(CLI::Range(1, 1 << 30));
  command->add_option("--by-position", arguments->by_position,
                      "Also write a CSV file of perplexity by position, in blocks of 4,096 tokens");
  command->add_option("--logits-out", arguments->logits_out,
                      "Also write the first document's logits (fp32, safetensors), to compare with other engines");
  command->add_flag("--timings", arguments->timings,
                    "Also say what the time went to: reading weights, attention, products, ...");
  command->add_flag("--json", arguments->json, "JSON on standard output, with sums per 4,096-token block");
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
