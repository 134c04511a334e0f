#include "common/formats/factors_file.h"

#include "common/error.h"
#include "common/files/json_object.h"
#include "common/files/read_file.h"
#include "common/files/strict_json.h"
#include "common/files/write_file.h"
#include "common/formats/engine_overrides.h"
#include "common/formats/factors_csv.h"
#include "common/formats/length_schedule.h"
#include "common/model/model_description.h"
#include "common/model/rope_scaling.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <limits>
#include <set>
#include <string_view>
#include <utility>

namespace longrope {
namespace {

using Json = nlohmann::ordered_json;  // keys stay in the order in which people read them

constexpr std::string_view kSchema = "longrope-factors/1";
constexpr std::string_view kLayout = "half_split";
constexpr std::size_t kMaxFileBytes = 16UL << 20U;
constexpr std::int64_t kMaxHeadDim = 65536;

FactorsFile::Model parse_model(const JsonObject& json) {
  json.refuse_unknown_keys({"id", "sha256", "head_dim", "rotary_dim", "rope_theta", "layout", "L0"});
  FactorsFile::Model model;
  model.id = json.text("id");
  if (json.has("sha256")) model.sha256 = json.text("sha256");
  const bool is_digest =
      model.sha256.size() == 64 && model.sha256.find_first_not_of("0123456789abcdef") == std::string::npos;
  if (!model.sha256.empty() && !is_digest) json.refuse("sha256", "must be 64 lower-case hexadecimal digits");
  model.head_dim = json.integer("head_dim", 4, kMaxHeadDim);
  model.geometry.rotary_dim = json.integer("rotary_dim", 4, model.head_dim);
  if (model.geometry.rotary_dim % 2 != 0) json.refuse("rotary_dim", "must be even");
  model.geometry.rope_theta = json.number("rope_theta");
  if (model.geometry.rope_theta <= 1.0) json.refuse("rope_theta", "must be above 1");
  model.geometry.original_length = json.integer("L0", 2);
  if (json.has("layout") && json.text("layout") != kLayout) json.refuse("layout", "must be half_split");
  return model;
}

FactorsFile::Fitness parse_fitness(const JsonObject& json) {
  json.refuse_unknown_keys({"name", "value", "dataset_digest", "samples", "dtype"});
  return {.name = json.text("name"),
          .value = json.number("value"),
          .dataset_digest = json.text("dataset_digest"),
          .samples = json.integer("samples", 0),
          .dtype = json.text("dtype")};
}

FactorsFile::Entry parse_entry(const JsonObject& json) {
  json.refuse_unknown_keys({"id", "target_len", "lambda", "lambda_grid", "steps_per_unit", "n_hat", "composed_from",
                            "mscale", "fitness", "search"});
  FactorsFile::Entry entry;
  entry.id = json.text("id");
  if (entry.id.empty()) json.refuse("id", "must not be empty");
  entry.target_length = json.integer("target_len", 1);
  entry.factors.lambda = json.numbers("lambda");
  constexpr std::int64_t kLargestStep = std::numeric_limits<std::int32_t>::max();
  if (json.has("lambda_grid")) {
    const std::vector<std::int64_t> steps = json.integers("lambda_grid", 0, kLargestStep);
    entry.factors.grid_steps.assign(steps.begin(), steps.end());
  }
  if (json.has("steps_per_unit")) {
    entry.factors.steps_per_unit = static_cast<std::int32_t>(json.integer("steps_per_unit", 1, kLargestStep));
  }
  entry.factors.n_hat = json.integer("n_hat", 0);
  const JsonObject mscale = json.object("mscale");
  mscale.refuse_unknown_keys({"policy", "value"});
  entry.factors.attention = {.policy = parse_attention_policy(mscale.text("policy")), .value = mscale.number("value")};
  if (json.has("composed_from")) entry.composed_from = json.texts("composed_from");
  if (json.has("fitness")) entry.fitness = parse_fitness(json.object("fitness"));
  return entry;
}

/// Rules that hold for what is read and for what is written.
void require_valid(const FactorsFile& file, const std::string& place) {
  if (file.entries.empty()) throw InputError(fmt::format("factors must not be empty: 0 entries ({})", place));
  const std::size_t pairs = file.model ? file.model->geometry.pairs() : file.entries.front().factors.lambda.size();
  if (pairs == 0) throw InputError(fmt::format("lambda must not be empty: 0 pairs ({})", place));
  std::set<std::string_view> ids;
  for (const FactorsFile::Entry& entry : file.entries) {
    const std::string id = nlohmann::json(entry.id).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
    if (!ids.insert(entry.id).second) throw InputError(fmt::format("id must be unique: {} ({})", id, place));
    validate(entry.factors, pairs, fmt::format("factors {} of {}", id, place));
    if (entry.fitness && !std::isfinite(entry.fitness->value)) {
      throw InputError(fmt::format("fitness must be finite: {} (factors {} of {})", entry.fitness->value, id, place));
    }
  }
  require_valid_schedule(file, place);
}

FactorsFile::ScheduleStep parse_schedule_step(const JsonObject& json) {
  json.refuse_unknown_keys({"max_len", "factors_id"});
  return {.max_length = json.integer("max_len", 1), .factors_id = json.text("factors_id")};
}

FactorsFile parse_factors_json(const nlohmann::json& document, const std::string& place) {
  const JsonObject json(document, place);
  if (json.text("schema") != kSchema) json.refuse("schema", fmt::format("must be {}", kSchema));
  json.refuse_unknown_keys({"schema", "model", "factors", "schedule"});
  FactorsFile file;
  if (json.has("model")) file.model = parse_model(json.object("model"));
  for (const JsonObject& entry : json.objects("factors")) file.entries.push_back(parse_entry(entry));
  if (json.has("schedule")) {
    for (const JsonObject& step : json.objects("schedule")) file.schedule.push_back(parse_schedule_step(step));
  }
  require_valid(file, place);
  return file;
}

Json to_json(const FactorsFile::Model& model) {
  return {{"id", model.id},
          {"sha256", model.sha256},
          {"head_dim", model.head_dim},
          {"rotary_dim", model.geometry.rotary_dim},
          {"rope_theta", model.geometry.rope_theta},
          {"layout", kLayout},
          {"L0", model.geometry.original_length}};
}

Json to_json(const FactorsFile::Entry& entry) {
  const RescaleFactors& factors = entry.factors;
  const bool is_on_grid = !factors.grid_steps.empty();
  Json json = {{"id", entry.id},
               {"target_len", entry.target_length},
               {"lambda", factors.lambda},
               {"lambda_grid", is_on_grid ? Json(factors.grid_steps) : Json()},
               {"steps_per_unit", is_on_grid ? Json(factors.steps_per_unit) : Json()},
               {"n_hat", factors.n_hat},
               {"mscale", {{"policy", to_string(factors.attention.policy)}, {"value", factors.attention.value}}},
               {"composed_from", entry.composed_from}};
  if (entry.fitness) {
    json["fitness"] = {{"name", entry.fitness->name},
                       {"value", entry.fitness->value},
                       {"dataset_digest", entry.fitness->dataset_digest},
                       {"samples", entry.fitness->samples},
                       {"dtype", entry.fitness->dtype}};
  }
  return json;
}

bool is_json(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  return first != std::string_view::npos && text[first] == '{';
}

bool has_rope(const nlohmann::json& config, const std::string& place) {
  const JsonObject object(config, place);
  return object.has("rope_scaling") || object.has("rope_parameters");
}

/// The short table of a config.json or of overrides of it.
std::optional<ShortFactors> short_factors_of(const nlohmann::json& config, const std::string& place) {
  if (!has_rope(config, place)) return std::nullopt;
  LongropeTables tables = parse_longrope_tables(config, place);
  if (!tables.short_factors || !tables.original_length) return std::nullopt;
  return ShortFactors{.factors = *std::move(tables.short_factors), .max_length = *tables.original_length};
}

}  // namespace

FactorsFile::Model factors_model(const ModelDescription& model, std::string sha256) {
  return {.id = model.name, .sha256 = std::move(sha256), .head_dim = model.head_dim, .geometry = model.geometry};
}

FactorsFile read_factors_json(const std::filesystem::path& path) {
  const std::string place = path.string();
  return parse_factors_json(parse_strict_json(read_file(path, kMaxFileBytes), place), place);
}

void write_factors_json(const FactorsFile& file, const std::filesystem::path& path) {
  Json json = {{"schema", kSchema}};
  if (file.model) json["model"] = to_json(*file.model);
  json["factors"] = Json::array();
  for (const FactorsFile::Entry& entry : file.entries) json["factors"].push_back(to_json(entry));
  for (const FactorsFile::ScheduleStep& step : file.schedule) {
    json["schedule"].push_back({{"max_len", step.max_length}, {"factors_id", step.factors_id}});
  }
  std::string text;
  try {
    text = json.dump(/*indent=*/1) + "\n";
  } catch (const Json::exception& error) {
    throw InputError(fmt::format("texts must be UTF-8: {} ({})", error.what(), path.string()));
  }
  // The reader's own checks make sure that nothing is written that could not be read back. Non-finite numbers have
  // become null in `text`, so the structure itself is checked first.
  require_valid(file, path.string());
  parse_factors_json(parse_strict_json(text, path.string()), path.string());
  write_file_atomically(path, text);
}

void write_factors_csv(const RescaleFactors& factors, const std::filesystem::path& path,
                       std::optional<std::int64_t> rows) {
  validate(factors, factors.lambda.size(), path.string());
  if (factors.lambda.empty()) throw InputError(fmt::format("lambda must not be empty: 0 pairs ({})", path.string()));
  if (factors.n_hat != 0) {
    throw InputError(fmt::format("n_hat must be 0, as CSV cannot express it: {} ({})", factors.n_hat, path.string()));
  }
  write_file_atomically(path, format_factors_csv(factors, rows));
}

RescaleFactors read_factors(const std::filesystem::path& path, std::optional<std::int64_t> total_length) {
  const std::string place = path.string();
  const std::string text = read_file(path, kMaxFileBytes);
  const auto short_for_length = [&](const nlohmann::json& config) {
    std::optional<ShortFactors> found = total_length ? short_factors_of(config, place) : std::nullopt;
    return found && *total_length <= found->max_length ? std::optional(std::move(found->factors)) : std::nullopt;
  };
  if (has_engine_overrides(text)) {  // which may have an attention factor for each table
    if (auto found = short_for_length(parse_engine_overrides(text, "short", place))) return *std::move(found);
    return parse_longrope_tables(parse_engine_overrides(text, "long", place), place).long_factors;
  }
  if (!is_json(text)) return parse_factors_csv(text, place);
  const nlohmann::json document = parse_strict_json(text, place);
  if (document.contains("schema")) {
    return entry_for(parse_factors_json(document, place), total_length, place).factors;
  }
  if (auto found = short_for_length(document)) return *std::move(found);
  if (has_rope(document, place)) return parse_longrope_tables(document, place).long_factors;
  throw InputError(fmt::format(
      "JSON must be a {} file or a config.json with rope_scaling or rope_parameters: neither ({})", kSchema, place));
}

std::optional<ShortFactors> read_short_factors(const std::filesystem::path& path) {
  const std::string place = path.string();
  const std::string text = read_file(path, kMaxFileBytes);
  if (has_engine_overrides(text)) return short_factors_of(parse_engine_overrides(text, "short", place), place);
  return is_json(text) ? short_factors_of(parse_strict_json(text, place), place) : std::nullopt;
}

}  // namespace longrope
