#include "report/published_factors.h"

#include "common/rope/closed_form_factors.h"
#include "report/page_part.h"

#include <nlohmann/json.hpp>

#include <cmath>
#include <utility>

namespace longrope {
namespace {

constexpr double kSameFactor = 1e-9;  // relative; the arithmetic is the same, the builds may differ
constexpr std::int64_t kTokensPerK = 1024;

bool has_yarn(const RotaryGeometry& geometry, std::int64_t target_length, const std::vector<double>& yarn) {
  if (geometry.pairs() != yarn.size() || target_length <= geometry.original_length) return false;
  const std::vector<double> own = closed_form_factors("yarn", geometry, target_length).lambda;
  for (std::size_t pair = 0; pair < yarn.size(); ++pair) {
    if (std::abs(own[pair] - yarn[pair]) > kSameFactor * own[pair]) return false;
  }
  return true;
}

/// The target length of an array of the authors, in tokens, from its key: "2048k_la2_256k" is for 2048k on a checkpoint
/// fine-tuned at 256k, "ft_la2_256k" for the 256k of that fine-tuning.
std::int64_t target_of(const std::string& key) {
  const std::string number = key.starts_with("ft_") ? key.substr(key.rfind('_') + 1) : key;
  return std::stoll(number) * kTokensPerK;
}

}  // namespace

std::vector<PublishedFactors> published_factors(std::int64_t target_length, const std::vector<double>& yarn) {
  const RotaryGeometry llama2 = {.rotary_dim = 128, .rope_theta = 10000.0, .original_length = 4096};
  const RotaryGeometry mistral = {.rotary_dim = 128, .rope_theta = 10000.0, .original_length = 8192};
  std::vector<PublishedFactors> fitting;
  const auto authors = nlohmann::json::parse(page_part("longrope_paper_llama2_mistral.json"));
  for (const auto& [key, array] : authors.at("arrays").items()) {
    const RotaryGeometry& geometry = key.find("_la2_") == std::string::npos ? mistral : llama2;
    if (target_of(key) == target_length && has_yarn(geometry, target_length, yarn)) {
      fitting.push_back({key, array.at("factors").get<std::vector<double>>()});
    }
  }
  const auto models = nlohmann::json::parse(page_part("published_factors.json"));
  for (const auto& [name, model] : models.items()) {
    const RotaryGeometry geometry = {
        .rotary_dim = model.at("rotary_dim").get<std::int64_t>(),
        .rope_theta = model.at("base").get<double>(),
        .original_length = model.at("original_max_position_embeddings").get<std::int64_t>()};
    if (model.at("max_position_embeddings") == target_length && has_yarn(geometry, target_length, yarn)) {
      fitting.push_back({name, model.at("long_factor").get<std::vector<double>>()});
    }
  }
  return fitting;
}

}  // namespace longrope
