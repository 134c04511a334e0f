// The TOML configuration of a search or a pipeline.
#include "config/config.h"
#include "tests/fuzz/fuzz_target.h"

void longrope::read_hostile_input(std::string_view input) {
  const Config config = load_config(hostile_file("search.toml", input));
  require_promise(!config.stages.empty(), "a configuration must have a stage");
}
