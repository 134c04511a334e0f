// Factors in every form that is told apart by content: canonical JSON, a config.json of Hugging Face, CSV.
#include "common/factors_file.h"

#include "tests/fuzz/fuzz_target.h"

void longrope::read_hostile_input(std::string_view input) {
  const RescaleFactors factors = read_factors(hostile_file("factors", input), /*total_length=*/8192);
  validate(factors, factors.lambda.size(), "what was read");
}
