// Answers of inference engines, in every form.
#include "common/error.h"
#include "evaluation/engines/engine_answers.h"
#include "tests/fuzz/fuzz_target.h"

#include <array>
#include <cmath>
#include <string>

namespace longrope {
namespace {

// Those of the seeds: a prompt that the fuzzer would have to guess teaches it nothing.
constexpr std::array<std::int32_t, 4> kTokens = {256, 84, 104, 101};

using Read = EngineNll (*)(const HttpAnswer& answer, std::span<const std::int32_t> tokens);

/// Whether the answer is refused, perhaps because it is one in another form.
template <typename Reader>
bool is_refused(const Reader& read) {
  try {
    read();
    return false;
  } catch (const InputError&) {
    return true;
  }
}

void require_nll(Read read, const HttpAnswer& answer) {
  static_cast<void>(is_refused([&] {
    const EngineNll found = read(answer, kTokens);
    require_promise(found.positions.size() == found.nll.size(), "each position has an NLL");
    std::int64_t last = 0;
    for (const std::int64_t position : found.positions) {
      require_promise(last < position && position < 4, "positions ascend within the prompt");
      last = position;
    }
    for (const double nll : found.nll) {
      require_promise(std::isfinite(nll) && nll > -0.01, "an NLL is finite, never negative");
    }
  }));
}

}  // namespace

void read_hostile_input(std::string_view input) {
  const HttpAnswer answer = {.status = 200, .body = std::string(input), .place = "engine"};
  require_nll(&prompt_nll, answer);
  require_nll(&echoed_nll_behind_bos, answer);
  static_cast<void>(
      is_refused([&] { require_promise(std::isfinite(next_token_nll(answer, 3, 101)), "an NLL is finite"); }));
  static_cast<void>(is_refused([&] {
    for (const std::int32_t token : tokenized(answer)) require_promise(token >= 0, "a token is not negative");
  }));
  static_cast<void>(served_model(answer));
}

}  // namespace longrope
