// Factors in every form that is told apart by content: canonical JSON, a config.json of Hugging Face, overrides for
// vLLM and axolotl, CSV.
#include "common/formats/factors_file.h"
#include "tests/fuzz/fuzz_target.h"

void longrope::read_hostile_input(std::string_view input) {
  const auto file = hostile_file("factors", input);
  const RescaleFactors factors = read_factors(file, /*total_length=*/8192);
  validate(factors, factors.lambda.size(), "what was read");
  if (const auto short_factors = read_short_factors(file)) {
    validate(short_factors->factors, short_factors->factors.lambda.size(), "what was read");
  }
}
