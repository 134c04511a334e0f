#include "evaluation/evaluation_json.h"

#include "common/files/json_object.h"
#include "common/files/read_file.h"
#include "common/files/strict_json.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <cstddef>
#include <string_view>
#include <utility>

namespace longrope {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kSchema = "longrope-evaluation/1";

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
  Json json = {{"method", result.method}, {"length", result.length}, {"kind", result.sliding ? "sliding" : "single"}};
  if (result.sliding) {
    json["window"] = result.sliding->window;
    json["stride"] = result.sliding->stride;
  }
  json["attention_factor"] = result.attention_factor;
  json["nll_sum"] = result.nll_sum;
  json["scored_tokens"] = result.scored_tokens;
  json["perplexity"] = result.perplexity();
  if (result.sliding) {
    json["windows"] = result.sliding->windows;
    json["ppl_yarn"] = result.sliding->ppl_yarn;
  }
  json["blocks"] = Json::array();
  for (const auto& [nll_sum, scored_tokens] : result.blocks) {
    json["blocks"].push_back(Json::array({nll_sum, scored_tokens}));
  }
  json["documents"] = Json::array();
  for (const auto& [name, nll_sum, scored_tokens] : result.documents) {
    json["documents"].push_back({{"name", name}, {"nll_sum", nll_sum}, {"scored_tokens", scored_tokens}});
  }
  return json;
}

Json to_json(const RetrievalResult& result) {
  return {{"kind", to_string(result.kind)}, {"method", result.method},
          {"length", result.length},        {"depth", result.depth},
          {"right", result.right},          {"answers", result.answers},
          {"accuracy", result.accuracy()},  {"interval", Json::array({result.interval.low, result.interval.high})}};
}

/// The objects of a list that may be absent.
std::vector<JsonObject> objects_if_any(const JsonObject& object, std::string_view key) {
  return object.has(key) ? object.objects(key) : std::vector<JsonObject>{};
}

RetrievalKind read_kind(const JsonObject& object) {
  const std::string text = object.text("kind");
  for (const RetrievalKind kind : {RetrievalKind::kPasskey, RetrievalKind::kNeedle}) {
    if (text == to_string(kind)) return kind;
  }
  object.refuse("kind", "must be one of [passkey, needle]");
}

EvaluatedFile read_file_entry(const JsonObject& object) {
  return {.file = object.text("file"), .count = object.integer("count", 1), .digest = object.text("digest")};
}

ReportedMethod read_method(const JsonObject& object) {
  ReportedMethod method;
  method.name = object.text("name");
  if (object.has("file")) method.file = object.text("file");
  for (const JsonObject& factors : objects_if_any(object, "factors")) {
    method.factors.push_back({.length = factors.integer("length", 1),
                              .digest = factors.text("digest"),
                              .attention_factor = factors.number("attention_factor")});
  }
  return method;
}

double read_nll_sum(const JsonObject& object) {
  const double value = object.number("nll_sum");
  if (!(value >= 0.0)) object.refuse("nll_sum", "must not be negative");
  return value;
}

/// exp of a mean that is not negative.
double read_perplexity_value(const JsonObject& object, std::string_view key) {
  const double value = object.number(key);
  if (!(value >= 1.0)) object.refuse(key, "must be at least 1");
  return value;
}

std::vector<ScoredBlock> read_blocks(const JsonObject& object) {
  constexpr double kMostTokens = 9007199254740992.0;  // 2^53: every integer below is a double
  std::vector<ScoredBlock> blocks;
  for (const auto& [sum, tokens] : object.number_pairs("blocks")) {
    if (!(sum >= 0.0) || !(tokens >= 0.0 && tokens <= kMostTokens) || tokens != std::floor(tokens)) {
      object.refuse("blocks", fmt::format("must hold [nll_sum >= 0, integer scored_tokens >= 0]: block {} is [{}, {}]",
                                          blocks.size(), sum, tokens));
    }
    blocks.push_back({sum, static_cast<std::int64_t>(tokens)});
  }
  return blocks;
}

PerplexityResult read_perplexity(const JsonObject& object) {
  PerplexityResult result;
  result.method = object.text("method");
  result.length = object.integer("length", 1);
  const std::string kind = object.text("kind");
  if (kind != "single" && kind != "sliding") object.refuse("kind", "must be one of [single, sliding]");
  if (kind == "sliding") {
    SlidingWindows sliding;
    sliding.window = object.integer("window", 1, result.length);
    sliding.stride = object.integer("stride", 1, sliding.window);
    sliding.windows = object.integer("windows", 1);
    sliding.ppl_yarn = read_perplexity_value(object, "ppl_yarn");
    result.sliding = sliding;
  }
  result.attention_factor = object.number("attention_factor");
  result.nll_sum = read_nll_sum(object);
  result.scored_tokens = object.integer("scored_tokens", 1);
  // Another would draw a point where no measurement is. Machines may differ in the last bits of exp; an overflow to
  // infinity is refused too.
  constexpr double kSamePerplexity = 1e-9;
  if (!(std::abs(object.number("perplexity") / result.perplexity() - 1.0) <= kSamePerplexity)) {
    object.refuse("perplexity", fmt::format("must be exp(nll_sum / scored_tokens), {}", result.perplexity()));
  }
  if (object.has("blocks")) result.blocks = read_blocks(object);
  for (const JsonObject& document : objects_if_any(object, "documents")) {
    result.documents.push_back({.name = document.text("name"),
                                .nll_sum = read_nll_sum(document),
                                .scored_tokens = document.integer("scored_tokens", 0)});
  }
  return result;
}

RetrievalResult read_retrieval(const JsonObject& object) {
  RetrievalResult result;
  result.kind = read_kind(object);
  result.method = object.text("method");
  result.length = object.integer("length", 1);
  result.depth = object.number_between("depth", 0.0, 1.0);
  result.answers = object.integer("answers", 1);
  result.right = object.integer("right", 0, result.answers);
  constexpr double kSameAccuracy = 1e-9;
  if (!(std::abs(object.number("accuracy") - result.accuracy()) <= kSameAccuracy)) {
    object.refuse("accuracy", fmt::format("must be right / answers, {}", result.accuracy()));
  }
  // Taken as it is: to compute it anew takes as many steps as the file claims answers.
  const std::vector<double> interval = object.numbers("interval");
  if (interval.size() != 2 || !(0.0 <= interval[0] && interval[0] <= interval[1] && interval[1] <= 1.0)) {
    object.refuse("interval", "must be [low, high] within [0, 1]");
  }
  result.interval = {.low = interval[0], .high = interval[1]};
  return result;
}

}  // namespace

std::string to_json(const EvaluationReport& report) {
  Json json = {{"schema", kSchema},
               {"model",
                {{"name", report.model.name},
                 {"digest", report.model.digest},
                 {"original_length", report.model.original_length},
                 {"reached_length", report.model.reached_length}}},
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

EvaluationReport read_evaluation_report(const std::filesystem::path& path) {
  constexpr std::size_t kMaxBytes = std::size_t{64} << 20;
  const nlohmann::json document = parse_strict_json(read_file(path, kMaxBytes), path.string());
  const JsonObject root(document, path.string());
  if (root.text("schema") != kSchema) root.refuse("schema", fmt::format("must be \"{}\"", kSchema));
  EvaluationReport report;
  const JsonObject model = root.object("model");
  report.model = {.name = model.text("name"),
                  .digest = model.text("digest"),
                  .original_length = model.integer("original_length", 1),
                  .reached_length = model.integer("reached_length", 1)};
  report.documents = read_file_entry(root.object("documents"));
  for (const JsonObject& file : objects_if_any(root, "retrieval_documents")) {
    report.retrieval_files.push_back({.kind = read_kind(file), .documents = read_file_entry(file)});
  }
  report.dtype = root.text("dtype");
  report.angles = root.text("angles");
  report.device = root.text("device");
  report.threads = root.integer("threads", 1);
  for (const JsonObject& method : root.objects("methods")) report.methods.push_back(read_method(method));
  for (const JsonObject& result : root.objects("perplexity")) report.perplexity.push_back(read_perplexity(result));
  for (const JsonObject& result : objects_if_any(root, "retrieval")) {
    report.retrieval.push_back(read_retrieval(result));
  }
  return report;
}

}  // namespace longrope
