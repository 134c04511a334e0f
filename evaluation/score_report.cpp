#include "evaluation/score_report.h"

#include "common/files/csv_field.h"
#include "evaluation/binomial_interval.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <optional>
#include <ostream>
#include <string_view>

namespace longrope {
namespace {

double perplexity(const ScoreResult& result) { return longrope::perplexity(result.nll_sum, result.scored_tokens); }
/// Every window counts the same, however many tokens it scores (YaRN's evaluation).
double window_perplexity(const FitnessResult& result) {
  return longrope::perplexity(result.window_means, result.windows);
}
double accuracy(const FitnessResult& result) {
  return static_cast<double>(result.right_answers) / static_cast<double>(result.answers);
}

void add_gradient(const FactorGradient& gradient, std::optional<FactorGradient>& sum) {
  if (!sum) {
    sum = gradient;
    return;
  }
  std::ranges::transform(sum->log_lambda, gradient.log_lambda, sum->log_lambda.begin(), std::plus<>());
  sum->log_attention += gradient.log_attention;
}

FitnessResult total_of(const std::vector<ScoredDocument>& documents) {
  FitnessResult total;
  for (const auto& [name, document] : documents) {
    add_result(document.score, total.score);
    total.windows += document.windows;
    total.window_means += document.window_means;
    total.answers += document.answers;
    total.right_answers += document.right_answers;
    if (document.gradient) add_gradient(*document.gradient, total.gradient);
    for (std::size_t phase = 0; phase < total.phases.size(); ++phase) {
      total.phases[phase].seconds += document.phases[phase].seconds;
      total.phases[phase].operations += document.phases[phase].operations;
    }
  }
  return total;
}

std::int64_t total_tokens(const ScoredLength& scored) {
  return scored.length * static_cast<std::int64_t>(scored.documents.size());
}

nlohmann::json to_json(const ScoreReport& report, const FitnessResult& result, std::int64_t tokens) {
  const FitnessKind kind = report.fitness.kind;
  const ScoreResult& score = result.score;
  nlohmann::json blocks = nlohmann::json::array();
  for (const ScoredBlock& block : score.blocks) blocks.push_back({block.nll_sum, block.scored_tokens});
  nlohmann::json json = {{"nll_sum", score.nll_sum},
                         {"scored_tokens", score.scored_tokens},
                         {"perplexity", perplexity(score)},
                         {"blocks", std::move(blocks)},
                         {"seconds", score.seconds},
                         {"tokens_per_second", static_cast<double>(tokens) / score.seconds},
                         {"peak_memory_bytes", score.peak_memory_bytes}};
  if (kind == FitnessKind::kSliding) {
    json["windows"] = result.windows;
    json["ppl_token"] = perplexity(score);
    json["ppl_yarn"] = window_perplexity(result);
  }
  if (kind == FitnessKind::kAccuracy) {
    const BinomialInterval interval = binomial_interval(result.right_answers, result.answers);
    json["answers"] = result.answers;
    json["right_answers"] = result.right_answers;
    json["accuracy"] = accuracy(result);
    json["accuracy_interval"] = {interval.low, interval.high};
  }
  if (result.gradient) {
    json["gradient"] = {{"log_lambda", result.gradient->log_lambda},
                        {"log_attention_factor", result.gradient->log_attention}};
  }
  if (report.timings) {
    for (std::size_t phase = 0; phase < kPhaseNames.size(); ++phase) {
      json["timings"][std::string(kPhaseNames[phase])] = {{"seconds", result.phases[phase].seconds},
                                                          {"operations", result.phases[phase].operations}};
    }
  }
  return json;
}

/// What one length has.
nlohmann::json to_json(const ScoreReport& report, const ScoredLength& scored) {
  nlohmann::json json = {{"length", scored.length}, {"attention_factor", scored.attention_factor}};
  for (const ScoredDocument& document : scored.documents) {
    nlohmann::json entry = to_json(report, document.result, scored.length);
    entry["name"] = document.name;
    json["documents"].push_back(std::move(entry));
  }
  json["total"] = to_json(report, total_of(scored.documents), total_tokens(scored));
  return json;
}

/// What one factor set has: its only length beside it, several in a list.
nlohmann::json to_json(const ScoreReport& report, const ScoredFactors& scored) {
  nlohmann::json json = {{"factors", scored.name}};
  if (scored.lengths.size() == 1) {
    json.update(to_json(report, scored.lengths.front()));
  } else {
    for (const ScoredLength& length : scored.lengths) json["lengths"].push_back(to_json(report, length));
  }
  return json;
}

/// The gradient of the mean NLL of all documents of one length under one factor set.
void write_gradient(const std::string& factors, const ScoredLength& scored, std::ostream& out) {
  const FitnessResult total = total_of(scored.documents);
  const auto tokens = static_cast<double>(total.score.scored_tokens);
  out << fmt::format("\nGradient of the mean NLL at {} tokens under {}:\n{:>6} {:>14}\n", scored.length, factors,
                     "pair", "d / d ln λ");
  for (std::size_t pair = 0; pair < total.gradient->log_lambda.size(); ++pair) {
    out << fmt::format("{:>6} {:>+14.3e}\n", pair, total.gradient->log_lambda[pair] / tokens);
  }
  out << fmt::format("{:>6} {:>+14.3e}  (d / d ln m)\n", "m", total.gradient->log_attention / tokens);
}

/// `phases`: of every document of one length, under all factor sets.
void write_timings(const PhaseTotals& phases, std::ostream& out) {
  double all_seconds = 0.0;
  for (const PhaseTotal& phase : phases) all_seconds += phase.seconds;
  out << fmt::format("{:<13} {:>9} {:>6} {:>7}\n", "phase", "seconds", "%", "GF/s");
  for (std::size_t index = 0; index < phases.size(); ++index) {
    const auto& [seconds, operations] = phases[index];
    out << fmt::format("{:<13} {:>9.3f} {:>6.1f} {:>7}\n", kPhaseNames[index], seconds, 100.0 * seconds / all_seconds,
                       operations > 0.0 ? fmt::format("{:.0f}", operations / seconds / 1e9) : "");
  }
}

/// Marks the best number of a row's document, or of the total, among the factor sets. Empty where there is one set.
class Marks {
 public:
  /// `document` counts from 0; the total comes after the last.
  Marks(const ScoreReport& report, std::size_t length, std::size_t document) {
    for (const ScoredFactors& factors : report.factors) {
      const std::vector<ScoredDocument>& documents = factors.lengths[length].documents;
      results_.push_back(document < documents.size() ? documents[document].result : total_of(documents));
    }
  }
  /// After the number that `cost` gives for `result`, of which the lowest is best.
  [[nodiscard]] std::string operator()(const FitnessResult& result, double (*cost)(const FitnessResult&)) const {
    if (results_.size() < 2) return {};
    std::vector<double> costs;
    for (const FitnessResult& other : results_) costs.push_back(cost(other));
    const auto [lowest, highest] = std::ranges::minmax(costs);
    return cost(result) == lowest && lowest != highest ? "*" : " ";
  }

 private:
  std::vector<FitnessResult> results_;  // by factor set
};

double perplexity_cost(const FitnessResult& result) { return perplexity(result.score); }
double accuracy_cost(const FitnessResult& result) { return -accuracy(result); }

/// `gap`: the room that a mark takes.
std::string fitness_heading(FitnessKind kind, const std::string& gap) {
  if (kind == FitnessKind::kSliding) return fmt::format(" {:>8} {:>11}{}", "windows", "ppl_yarn", gap);
  if (kind == FitnessKind::kAccuracy) {
    return fmt::format(" {:>9} {:>9}{} {:>13}", "right", "accuracy", gap, "95 % interval");
  }
  return {};
}

std::string fitness_columns(FitnessKind kind, const FitnessResult& result, const Marks& mark) {
  if (kind == FitnessKind::kSliding) {
    return fmt::format(" {:>8} {:>11.5f}{}", result.windows, window_perplexity(result),
                       mark(result, window_perplexity));
  }
  if (kind == FitnessKind::kAccuracy) {
    const BinomialInterval interval = binomial_interval(result.right_answers, result.answers);
    return fmt::format(" {:>9} {:>9.3f}{} {:>13}", fmt::format("{}/{}", result.right_answers, result.answers),
                       accuracy(result), mark(result, accuracy_cost),
                       fmt::format("{:.3f}-{:.3f}", interval.low, interval.high));
  }
  return {};
}

}  // namespace

void write_table(const ScoreReport& report, std::ostream& out) {
  constexpr double kMebibyte = 1024.0 * 1024.0;
  const FitnessKind kind = report.fitness.kind;
  const std::size_t lengths = report.factors.front().lengths.size();
  std::size_t widest = std::string_view("factors").size();
  for (const ScoredFactors& factors : report.factors) widest = std::max(widest, factors.name.size());
  const auto first_columns = [&](std::string_view factors, std::string_view length) {
    return (report.factors.size() > 1 ? fmt::format("{:<{}} ", factors, widest) : "") +
           (lengths > 1 ? fmt::format("{:>9} ", length) : "");
  };
  const std::string gap = report.factors.size() > 1 ? " " : "";
  out << first_columns("factors", "length")
      << fmt::format("{:<24} {:>16} {:>13} {:>11}{}{} {:>9} {:>10} {:>10}\n", "document", "nll_sum", "scored_tokens",
                     "perplexity", gap, fitness_heading(kind, gap), "seconds", "tokens/s", "peak MiB");
  for (const ScoredFactors& factors : report.factors) {
    for (std::size_t length = 0; length < lengths; ++length) {
      const ScoredLength& scored = factors.lengths[length];
      std::size_t document_index = 0;
      const auto row = [&](const std::string& name, const FitnessResult& result, std::int64_t tokens) {
        const ScoreResult& score = result.score;
        const Marks mark(report, length, document_index++);
        out << first_columns(factors.name, std::to_string(scored.length))
            << fmt::format("{:<24} {:>16.6f} {:>13} {:>11.5f}{}{} {:>9.3f} {:>10.1f} {:>10.1f}\n", name, score.nll_sum,
                           score.scored_tokens, perplexity(score), mark(result, perplexity_cost),
                           fitness_columns(kind, result, mark), score.seconds,
                           static_cast<double>(tokens) / score.seconds,
                           static_cast<double>(score.peak_memory_bytes) / kMebibyte);
      };
      for (const ScoredDocument& document : scored.documents) row(document.name, document.result, scored.length);
      row("total", total_of(scored.documents), total_tokens(scored));
    }
  }
  for (const ScoredFactors& factors : report.factors) {
    for (const ScoredLength& scored : factors.lengths) {
      if (scored.documents.front().result.gradient) write_gradient(factors.name, scored, out);
    }
  }
  if (report.factors.size() > 1) out << "* the best of all factors for its document and length\n";
  for (std::size_t length = 0; report.timings && length < lengths; ++length) {
    std::vector<ScoredDocument> documents;
    for (const ScoredFactors& factors : report.factors) {
      const std::vector<ScoredDocument>& more = factors.lengths[length].documents;
      documents.insert(documents.end(), more.begin(), more.end());
    }
    out << fmt::format("\n{} tokens\n", report.factors.front().lengths[length].length);
    write_timings(total_of(documents).phases, out);
  }
}

void write_json(const ScoreReport& report, std::ostream& out) {
  nlohmann::json json = {{"fitness", to_string(report.fitness.kind)},
                         {"model", report.model},
                         {"device", report.device},
                         {"dtype", report.dtype},
                         {"angles", report.angles},
                         {"threads", report.threads},
                         {"sliding_window", report.sliding_window}};
  if (report.fitness.kind == FitnessKind::kSliding) {
    json["window"] = report.fitness.window;
    json["stride"] = report.fitness.stride;
  }
  if (report.factors.size() == 1) {
    json.update(to_json(report, report.factors.front()));
  } else {
    for (const ScoredFactors& factors : report.factors) json["factor_sets"].push_back(to_json(report, factors));
  }
  out << json.dump(2) << std::endl;
}

std::string by_position_csv(const ScoreReport& report) {
  std::string csv = "document,from_token,to_token,scored_tokens,nll_sum,perplexity,length,factors\n";
  const auto add_document = [&](const ScoredDocument& document, std::int64_t length, const std::string& factors) {
    std::int64_t begin = 0;
    for (const ScoredBlock& block : document.result.score.blocks) {
      const std::int64_t end = std::min(begin + kBlockTokens, length);
      csv += fmt::format(
          "{},{},{},{},{},{},{},{}\n", csv_field(document.name), begin, end, block.scored_tokens, block.nll_sum,
          block.scored_tokens == 0 ? "" : fmt::format("{}", perplexity(block.nll_sum, block.scored_tokens)), length,
          csv_field(factors));
      begin = end;
    }
  };
  for (const auto& [factors, lengths] : report.factors) {
    for (const ScoredLength& scored : lengths) {
      for (const ScoredDocument& document : scored.documents) add_document(document, scored.length, factors);
    }
  }
  return csv;
}

}  // namespace longrope
