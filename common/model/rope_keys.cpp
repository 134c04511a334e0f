#include "common/model/rope_keys.h"

#include "common/error.h"
#include "common/suggestion.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <optional>

namespace longrope {
namespace {

// Engines as they were read: transformers 4.57 and 5.24 (modeling_rope_utils.py), vLLM up to 0.25 (rotary_embedding/)
// and conversion/ of llama.cpp of 2026.

/// Keys that the rope types read. Those of files only, which change no angle of a text, belong to all types.
constexpr std::array<std::string_view, 8> kOfEveryType = {"rope_type",
                                                          "type",
                                                          "rope_theta",
                                                          "partial_rotary_factor",
                                                          "original_max_position_embeddings",
                                                          "mrope_section",
                                                          "mrope_interleaved",
                                                          "finetuned"};
constexpr std::array<std::string_view, 1> kLinear = {"factor"};
constexpr std::array<std::string_view, 7> kYarn = {"factor", "attention_factor", "beta_fast", "beta_slow",
                                                   "mscale", "mscale_all_dim",   "truncate"};
constexpr std::array<std::string_view, 3> kLlama3 = {"factor", "low_freq_factor", "high_freq_factor"};
constexpr std::array<std::string_view, 4> kLongrope = {"factor", "attention_factor", "short_factor", "long_factor"};

std::vector<std::string_view> known_keys(std::string_view type) {
  std::vector<std::string_view> known(kOfEveryType.begin(), kOfEveryType.end());
  const auto add = [&](const auto& keys) { known.insert(known.end(), keys.begin(), keys.end()); };
  if (type == "linear") add(kLinear);
  if (type == "yarn") add(kYarn);
  if (type == "llama3") add(kLlama3);
  if (type == "longrope") add(kLongrope);
  return known;
}

/// A key that engines use and transformers ignores.
struct EngineKey {
  std::string_view name;
  std::string_view type;     // rope type with which they do
  std::string_view engines;  // what they do with it
  bool one_is_none = false;  // the value 1 changes nothing there
};
constexpr std::array<EngineKey, 5> kEngineKeys = {{
    {"attn_factor", "yarn",
     "vLLM up to 0.25 multiplies m by it, and llama.cpp's converter writes it into the GGUF as yarn_attn_factor", true},
    {"extrapolation_factor", "yarn",
     "vLLM up to 0.25 multiplies by it the share by which a pair keeps its angle, and llama.cpp's converter writes it "
     "into the GGUF as yarn_ext_factor",
     true},
    {"apply_yarn_scaling", "yarn",
     "with false, vLLM up to 0.25 leaves out yarn's part of m; llama.cpp's converter does not read it"},
    {"short_mscale", "longrope",
     "vLLM takes it for m up to the original length; llama.cpp's converter does not read it"},
    {"long_mscale", "longrope",
     "vLLM takes it for m beyond the original length; llama.cpp's converter does not read it"},
}};

/// m that the engines compute which use the key, where it says so. They multiply attn_factor by what yarn gives for the
/// factor, whatever attention_factor is.
std::optional<double> attention_by(const EngineKey& key, const JsonObject& rope, double attention_factor) {
  if (!rope.is_number(key.name)) return std::nullopt;
  if (key.type == "longrope") return rope.number(key.name);
  if (key.name != "attn_factor") return std::nullopt;
  const double stretched = rope.is_number("factor") ? rope.number("factor") : 0.0;
  const double usual = stretched >= 1.0 ? 0.1 * std::log(stretched) + 1.0 : attention_factor;
  return usual * rope.number(key.name);
}

/// Whether the key gives those engines the m that the model has here: exports write it so that they do.
bool gives_the_same(const EngineKey& key, const JsonObject& rope, double attention_factor) {
  constexpr double kTolerance = 1e-6;  // relative
  const std::optional<double> attention = attention_by(key, rope, attention_factor);
  return attention && std::abs(*attention - attention_factor) <= kTolerance * attention_factor;
}

std::string engine_sentence(const EngineKey& key, const JsonObject& rope, double attention_factor) {
  std::string sentence = fmt::format("{} is ignored, as in transformers 4 and 5: m is {:.6g}; {}", rope.where(key.name),
                                     attention_factor, key.engines);
  if (key.name == "attn_factor") {
    const std::optional<double> served = attention_by(key, rope, attention_factor);
    if (served) sentence += fmt::format(" (vLLM serves m = {:.6g})", *served);
  }
  return sentence;
}

}  // namespace

std::vector<std::string> ignored_rope_keys(const JsonObject& rope, std::string_view type, double attention_factor) {
  constexpr std::size_t kMostSentences = 8;
  constexpr std::size_t kLongestKey = 80;
  const std::vector<std::string_view> known = known_keys(type);
  std::vector<std::string> sentences;
  std::size_t left_out = 0;
  for (const std::string& key : rope.keys()) {
    if (!rope.has(key) || std::ranges::find(known, key) != known.end()) continue;
    const auto* const engine = std::ranges::find_if(
        kEngineKeys, [&](const EngineKey& candidate) { return candidate.name == key && candidate.type == type; });
    const bool used_by_engines = engine != kEngineKeys.end();
    if (used_by_engines && engine->one_is_none && rope.is_number(key) && rope.number(key) == 1.0) continue;
    if (used_by_engines && gives_the_same(*engine, rope, attention_factor)) continue;
    if (sentences.size() == kMostSentences) {
      ++left_out;
      continue;
    }
    sentences.push_back(used_by_engines
                            ? engine_sentence(*engine, rope, attention_factor)
                            : fmt::format("{} is ignored, as in transformers: rope type {} has no such key{}",
                                          printable_text(rope.where(key.substr(0, kLongestKey))), type,
                                          suggestion(key, known)));
  }
  if (left_out > 0) sentences.push_back(fmt::format("{} more keys of {} are ignored", left_out, rope.where()));
  return sentences;
}

}  // namespace longrope
