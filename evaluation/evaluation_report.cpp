#include "evaluation/evaluation_report.h"

#include "common/error.h"
#include "common/files/csv_field.h"
#include "evaluation/binomial_interval.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>

namespace longrope {
namespace {

using Json = nlohmann::ordered_json;

Json to_json(const EvaluatedFile& documents) {
  return {{"file", documents.file}, {"count", documents.count}, {"digest", documents.digest}};
}

Json to_json(const ReportedMethod& method) {
  Json json = {{"name", method.name}};
  if (!method.file.empty()) json["file"] = method.file;
  json["factors"] = Json::array();
  for (const auto& [length, digest, attention_factor] : method.factors) {
    json["factors"].push_back({{"length", length}, {"digest", digest}, {"attention_factor", attention_factor}});
  }
  return json;
}

Json to_json(const PerplexityResult& result) {
  const EvaluatedDocument total = result.total();
  Json json = {
      {"method", result.method}, {"length", result.length}, {"kind", result.window == 0 ? "single" : "sliding"}};
  if (result.window != 0) {
    json["window"] = result.window;
    json["stride"] = result.stride;
  }
  json["attention_factor"] = result.attention_factor;
  json["nll_sum"] = total.score.nll_sum;
  json["scored_tokens"] = total.score.scored_tokens;
  json["perplexity"] = perplexity(total.score.nll_sum, total.score.scored_tokens);
  if (result.window != 0) {
    json["windows"] = total.windows;
    json["ppl_yarn"] = perplexity(total.window_means, total.windows);
  }
  json["blocks"] = Json::array();
  for (const auto& [nll_sum, scored_tokens] : total.score.blocks) {
    json["blocks"].push_back(Json::array({nll_sum, scored_tokens}));
  }
  json["documents"] = Json::array();
  for (const EvaluatedDocument& document : result.documents) {
    json["documents"].push_back({{"name", document.name},
                                 {"nll_sum", document.score.nll_sum},
                                 {"scored_tokens", document.score.scored_tokens}});
  }
  return json;
}

Json to_json(const RetrievalResult& result) {
  const BinomialInterval interval = binomial_interval(result.right, result.answers);
  return {{"kind", to_string(result.kind)},
          {"method", result.method},
          {"length", result.length},
          {"depth", result.depth},
          {"right", result.right},
          {"answers", result.answers},
          {"accuracy", static_cast<double>(result.right) / static_cast<double>(result.answers)},
          {"interval", Json::array({interval.low, interval.high})}};
}

/// Columns that perplexities of whole documents and of blocks share.
std::string perplexity_row(const PerplexityResult& result, const ScoredBlock& sums, const std::string& table,
                           const std::string& tokens, const std::string& ppl_yarn) {
  return fmt::format("{},{},{},,{},{},{},{},{},{},{},,,,,\n", table, csv_field(result.method), result.length, tokens,
                     result.window == 0 ? "," : fmt::format("{},{}", result.window, result.stride),
                     result.attention_factor, sums.nll_sum, sums.scored_tokens,
                     sums.scored_tokens == 0 ? "" : fmt::format("{}", perplexity(sums.nll_sum, sums.scored_tokens)),
                     ppl_yarn);
}

}  // namespace

EvaluatedDocument PerplexityResult::total() const {
  EvaluatedDocument total;
  for (const EvaluatedDocument& document : documents) {
    add_result(document.score, total.score);
    total.windows += document.windows;
    total.window_means += document.window_means;
  }
  return total;
}

std::string_view to_string(RetrievalKind kind) {
  switch (kind) {
    case RetrievalKind::kPasskey:
      return "passkey";
    case RetrievalKind::kNeedle:
      return "needle";
  }
  throw Error(fmt::format("kind of retrieval must be known: {}", static_cast<int>(kind)));
}

std::string to_json(const EvaluationReport& report) {
  Json json = {{"schema", "longrope-evaluation/1"},
               {"model",
                {{"name", report.model},
                 {"digest", report.model_digest},
                 {"original_length", report.original_length},
                 {"reached_length", report.reached_length}}},
               {"documents", to_json(report.documents)}};
  json["retrieval_documents"] = Json::array();
  for (const auto& [kind, documents] : report.retrieval_files) {
    Json file = {{"kind", to_string(kind)}};
    file.update(to_json(documents));
    json["retrieval_documents"].push_back(std::move(file));
  }
  json.update(
      {{"dtype", report.dtype}, {"angles", report.angles}, {"device", report.device}, {"threads", report.threads}});
  for (const char* const list : {"methods", "perplexity", "retrieval"}) json[list] = Json::array();
  for (const ReportedMethod& method : report.methods) json["methods"].push_back(to_json(method));
  for (const PerplexityResult& result : report.perplexity) json["perplexity"].push_back(to_json(result));
  for (const RetrievalResult& result : report.retrieval) json["retrieval"].push_back(to_json(result));
  // A file's name need not be UTF-8.
  return json.dump(2, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace) + "\n";
}

std::string to_csv(const EvaluationReport& report) {
  std::string csv =
      "table,method,length,depth,from_token,to_token,window,stride,attention_factor,nll_sum,scored_tokens,perplexity,"
      "ppl_yarn,right,answers,accuracy,interval_low,interval_high\n";
  for (const PerplexityResult& result : report.perplexity) {
    const std::string table = result.window == 0 ? "perplexity" : "sliding";
    const auto [name, score, windows, window_means] = result.total();
    csv += perplexity_row(result, {score.nll_sum, score.scored_tokens}, table, ",",
                          result.window == 0 ? "" : fmt::format("{}", perplexity(window_means, windows)));
    std::int64_t begin = 0;
    for (const ScoredBlock& block : score.blocks) {
      const std::int64_t end = std::min(begin + kBlockTokens, result.length);
      csv += perplexity_row(result, block, table + "_by_position", fmt::format("{},{}", begin, end), "");
      begin = end;
    }
  }
  for (const RetrievalResult& result : report.retrieval) {
    const BinomialInterval interval = binomial_interval(result.right, result.answers);
    csv += fmt::format("{},{},{},{},,,,,,,,,,{},{},{},{},{}\n", to_string(result.kind), csv_field(result.method),
                       result.length, result.depth, result.right, result.answers,
                       static_cast<double>(result.right) / static_cast<double>(result.answers), interval.low,
                       interval.high);
  }
  return csv;
}

}  // namespace longrope
