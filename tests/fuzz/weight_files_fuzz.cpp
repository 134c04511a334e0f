// model.safetensors.index.json: which files belong to a model.
#include "common/model/model_description.h"
#include "tests/fuzz/fuzz_target.h"

void longrope::read_hostile_input(std::string_view input) {
  static const auto shard = hostile_file("model-00001-of-00001.safetensors", "");  // an index can be accepted
  hostile_file("model.safetensors.index.json", input);
  for (const std::filesystem::path& file : weight_files(shard.parent_path())) {
    const std::filesystem::path inside = file.lexically_normal().lexically_relative(shard.parent_path());
    require_promise(!inside.empty() && *inside.begin() != "..", "shards must lie inside the model's directory");
  }
}
