#include <fmt/format.h>

#include <atomic>
#include <cmath>
#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/named_factors.h"
#include "common/documents.h"
#include "common/error.h"
#include "worker/scoring/perplexity_scorer.h"

namespace longrope {
namespace {

struct ScoreArguments {
  std::string model;
  std::string documents;
  std::int64_t length = 0;
  std::string factors = "none";
  std::string attention_factor;
  std::string dtype = "fp32";
  std::string angles = "fp64";
  std::string device = "cpu";
  std::int64_t threads = 1;
  bool sliding_window = false;
  std::optional<std::int64_t> count;
  std::string logits_out;
  bool json = false;
};

struct Scored {
  std::string name;
  ScoreResult result;
};

double perplexity(const ScoreResult& result) {
  return std::exp(result.nll_sum / static_cast<double>(result.scored_tokens));
}

nlohmann::json to_json(const ScoreResult& result, std::int64_t tokens) {
  nlohmann::json blocks = nlohmann::json::array();
  for (const ScoredBlock& block : result.blocks) blocks.push_back({block.nll_sum, block.scored_tokens});
  return {{"nll_sum", result.nll_sum},
          {"scored_tokens", result.scored_tokens},
          {"perplexity", perplexity(result)},
          {"blocks", std::move(blocks)},
          {"seconds", result.seconds},
          {"tokens_per_second", static_cast<double>(tokens) / result.seconds},
          {"peak_memory_bytes", result.peak_memory_bytes}};
}

ScoreResult total_of(const std::vector<Scored>& documents) {
  ScoreResult total;
  for (const Scored& document : documents) {
    total.nll_sum += document.result.nll_sum;
    total.scored_tokens += document.result.scored_tokens;
    total.seconds += document.result.seconds;
    total.peak_memory_bytes = std::max(total.peak_memory_bytes, document.result.peak_memory_bytes);
    total.blocks.resize(std::max(total.blocks.size(), document.result.blocks.size()));
    for (std::size_t b = 0; b < document.result.blocks.size(); ++b) {
      total.blocks[b].nll_sum += document.result.blocks[b].nll_sum;
      total.blocks[b].scored_tokens += document.result.blocks[b].scored_tokens;
    }
  }
  return total;
}

void print_table(const std::vector<Scored>& documents, std::int64_t length) {
  constexpr double kMebibyte = 1024.0 * 1024.0;
  fmt::print("{:<24} {:>16} {:>13} {:>11} {:>9} {:>10} {:>10}\n", "document", "nll_sum", "scored_tokens", "perplexity",
             "seconds", "tokens/s", "peak MiB");
  const auto row = [&](const std::string& name, const ScoreResult& result, std::int64_t tokens) {
    fmt::print("{:<24} {:>16.6f} {:>13} {:>11.5f} {:>9.3f} {:>10.1f} {:>10.1f}\n", name, result.nll_sum,
               result.scored_tokens, perplexity(result), result.seconds, static_cast<double>(tokens) / result.seconds,
               static_cast<double>(result.peak_memory_bytes) / kMebibyte);
  };
  for (const Scored& document : documents) row(document.name, document.result, length);
  row("total", total_of(documents), length * static_cast<std::int64_t>(documents.size()));
}

void score(const ScoreArguments& arguments) {
  const ScorerOptions options{arguments.device, parse_compute_dtype(arguments.dtype),
                              parse_angle_mode(arguments.angles), arguments.threads, arguments.sliding_window};
  PerplexityScorer scorer(arguments.model, options);
  const RescaleFactors factors =
      named_factors(arguments.factors, arguments.attention_factor, scorer.model(), arguments.length);
  std::vector<Document> documents = read_documents(arguments.documents).documents;
  if (arguments.count && *arguments.count < static_cast<std::int64_t>(documents.size())) {
    documents.resize(static_cast<std::size_t>(*arguments.count));
  }
  for (const Document& document : documents) require_scorable(document, arguments.length, scorer.model().vocabulary);
  if (!arguments.logits_out.empty()) {
    scorer.write_logits(factors, documents.front(), arguments.length, arguments.logits_out);
  }
  std::atomic<std::int64_t> progress{0};
  std::vector<Scored> scored;
  for (const Document& document : documents) {
    ScoreResult result = scorer.score(factors, document, arguments.length, progress);
    if (!std::isfinite(result.nll_sum)) {
      throw Error("NLL must be finite: document " + document.name + " under factors " + arguments.factors);
    }
    scored.push_back({document.name, std::move(result)});
  }
  if (!arguments.json) {
    print_table(scored, arguments.length);
    return;
  }
  nlohmann::json report = {{"model", scorer.model().name},
                           {"device", scorer.device_description()},
                           {"length", arguments.length},
                           {"factors", arguments.factors},
                           {"attention_factor", factors.attention.value},
                           {"dtype", arguments.dtype},
                           {"angles", arguments.angles},
                           {"threads", arguments.threads},
                           {"sliding_window", scorer.model().sliding_window()}};
  for (const Scored& document : scored) {
    nlohmann::json entry = to_json(document.result, arguments.length);
    entry["name"] = document.name;
    report["documents"].push_back(std::move(entry));
  }
  report["total"] = to_json(total_of(scored), arguments.length * static_cast<std::int64_t>(scored.size()));
  std::cout << report.dump(2) << std::endl;
}

}  // namespace

void add_score_command(CLI::App& app) {
  auto* command = app.add_subcommand("score", "Score documents under given factors, without a coordinator");
  auto arguments = std::make_shared<ScoreArguments>();
  command->add_option("--model", arguments->model, "Hugging Face model directory")->required();
  command->add_option("--documents", arguments->documents, "Documents file (longrope documents)")->required();
  command->add_option("--length", arguments->length, "Tokens of each document to score, BOS included")
      ->required()
      ->check(CLI::Range(std::int64_t{2}, std::int64_t{1} << 31));
  command->add_option("--factors", arguments->factors, kFactorsHelp)->capture_default_str();
  command->add_option("--attention-factor", arguments->attention_factor, kAttentionFactorHelp);
  command->add_option("--dtype", arguments->dtype, "fp32 or bf16")->capture_default_str();
  command->add_option("--angles", arguments->angles, "fp64, or hf_fp32 as Hugging Face multiplies")
      ->capture_default_str();
  command->add_option("--device", arguments->device, "cpu, cuda or cuda:N (CUDA has not been run on a GPU yet)")
      ->capture_default_str();
  command->add_option("--threads", arguments->threads, "CPU threads")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  command->add_flag("--sliding-window", arguments->sliding_window,
                    "Keep to the model's sliding windows; a search never does");
  command->add_option("--count", arguments->count, "First COUNT documents of the file [all]")
      ->check(CLI::Range(1, 1 << 30));
  command->add_option("--logits-out", arguments->logits_out,
                      "Also write the first document's logits (fp32, safetensors), to compare with other engines");
  command->add_flag("--json", arguments->json, "JSON on standard output, with sums per 4,096-token block");
  command->footer(
      "Example:\n  longrope score --model models/byte-llama --documents heldout.safetensors --length 4096 "
      "--factors yarn --attention-factor none");
  command->callback([=] { score(*arguments); });
}

}  // namespace longrope
