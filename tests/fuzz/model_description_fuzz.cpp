// config.json of a model.
#include "common/model/model_description.h"
#include "tests/fuzz/fuzz_target.h"

void longrope::read_hostile_input(std::string_view input) {
  hostile_file("config.json", input);
  const ModelDescription model = describe_model(fuzz_folder());
  require_promise(model.geometry.pairs() > 0 && model.geometry.original_length > 0 && model.vocabulary > 0,
                  "a description must be usable");
}
