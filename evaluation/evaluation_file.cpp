#include "evaluation/evaluation_file.h"

#include "common/files/json_object.h"
#include "common/files/read_file.h"
#include "common/files/strict_json.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <initializer_list>
#include <string_view>
#include <utility>

namespace longrope {
namespace {

constexpr std::string_view kSchema = "longrope-evaluation/1";
constexpr std::size_t kMaxBytes = std::size_t{64} << 20;
constexpr double kMostTokens = 9007199254740992.0;  // 2^53: every integer below is a double

double nll_sum(const JsonObject& object) {
  const double value = object.number("nll_sum");
  if (!(value >= 0.0)) object.refuse("nll_sum", "must not be negative");
  return value;
}

std::string word(const JsonObject& object, std::string_view key, std::initializer_list<std::string_view> words) {
  std::string value = object.text(key);
  for (const std::string_view known : words) {
    if (value == known) return value;
  }
  object.refuse(key, fmt::format("must be one of [{}]", fmt::join(words, ", ")));
}

std::vector<ScoredBlock> read_blocks(const JsonObject& object) {
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

EvaluationFile::Perplexity read_perplexity(const JsonObject& object) {
  EvaluationFile::Perplexity row;
  row.method = object.text("method");
  row.length = object.integer("length", 1);
  row.kind = word(object, "kind", {"single", "sliding"});
  if (row.kind == "sliding") {
    row.window = object.integer("window", 1, row.length);
    row.stride = object.integer("stride", 1, *row.window);
  }
  row.attention_factor = object.number("attention_factor");
  row.nll_sum = nll_sum(object);
  row.scored_tokens = object.integer("scored_tokens", 1);
  row.perplexity = object.number("perplexity");
  // exp of a mean that is not negative; a file that says otherwise would draw a point where no measurement is.
  if (!(row.perplexity >= 1.0)) object.refuse("perplexity", "must be at least 1");
  if (object.has("blocks")) row.blocks = read_blocks(object);
  if (object.has("documents")) {
    for (const JsonObject& document : object.objects("documents")) {
      row.documents.push_back({document.text("name"), nll_sum(document), document.integer("scored_tokens", 0)});
    }
  }
  return row;
}

EvaluationFile::Retrieval read_retrieval(const JsonObject& object) {
  EvaluationFile::Retrieval row;
  row.kind = word(object, "kind", {"passkey", "needle"});
  row.method = object.text("method");
  row.length = object.integer("length", 1);
  row.depth = object.number_between("depth", 0.0, 1.0);
  row.answers = object.integer("answers", 1);
  row.right = object.integer("right", 0, row.answers);
  row.accuracy = object.number_between("accuracy", 0.0, 1.0);
  const std::vector<double> interval = object.numbers("interval");
  if (interval.size() != 2 || !(0.0 <= interval[0] && interval[0] <= interval[1] && interval[1] <= 1.0)) {
    object.refuse("interval", "must be [low, high] within [0, 1]");
  }
  row.interval_low = interval[0];
  row.interval_high = interval[1];
  return row;
}

}  // namespace

EvaluationFile read_evaluation_file(const std::filesystem::path& path) {
  const nlohmann::json document = parse_strict_json(read_file(path, kMaxBytes), path.string());
  const JsonObject root(document, path.string());
  if (root.text("schema") != kSchema) root.refuse("schema", fmt::format("must be \"{}\"", kSchema));
  EvaluationFile report;
  const JsonObject model = root.object("model");
  report.model = {model.text("name"), model.text("digest"), model.integer("original_length", 1),
                  model.integer("reached_length", 1)};
  const JsonObject documents = root.object("documents");
  report.documents_file = documents.text("file");
  report.document_count = documents.integer("count", 1);
  report.dtype = root.text("dtype");
  report.angles = root.text("angles");
  for (const JsonObject& method : root.objects("methods")) report.methods.push_back(method.text("name"));
  for (const JsonObject& row : root.objects("perplexity")) report.perplexity.push_back(read_perplexity(row));
  if (root.has("retrieval")) {
    for (const JsonObject& row : root.objects("retrieval")) report.retrieval.push_back(read_retrieval(row));
  }
  return report;
}

}  // namespace longrope
