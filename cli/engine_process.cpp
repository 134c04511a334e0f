#include "cli/engine_process.h"

#include "cli/engine_tool.h"
#include "common/error.h"
#include "common/files/json_object.h"
#include "common/files/strict_json.h"
#include "coordinator/processes/child_output.h"

#include <fmt/format.h>

#include <cstddef>
#include <vector>

namespace longrope {
namespace {

std::vector<std::string> command_of(const EngineProcess& engine) {
  return {engine.python,
          "-B",
          "-c",
          std::string(engine_tool().front().content),
          engine.model.string(),
          "--documents",
          engine.documents.string(),
          "--document",
          engine.document,
          "--length",
          std::to_string(engine.length),
          "--threads",
          std::to_string(engine.threads)};
}

std::string printed_by(const EngineProcess& engine) {
  try {
    return output_of(command_of(engine));
  } catch (const Error& error) {
    throw InputError(fmt::format("an engine must measure the document: {} ({})", error.what(), engine.model.string()));
  }
}

}  // namespace

EngineProcessNll run_engine(const EngineProcess& engine) {
  if (!std::filesystem::exists(engine.model)) {
    throw InputError(fmt::format("a model to run must be a directory or a .gguf file: nothing is there ({})",
                                 engine.model.string()));
  }
  const std::string printed = printed_by(engine);
  // Libraries may print before the tool does.
  const std::size_t end = printed.find_last_not_of('\n');
  const std::size_t begin = printed.find_last_of('\n', end) + 1;
  const std::string place = fmt::format("printed by {}", engine.python);
  const nlohmann::json json = parse_strict_json(printed.substr(begin), place);
  const JsonObject answer(json, place);
  const std::int64_t scored = answer.integer("scored_tokens", 0);
  if (scored != engine.length - 1) {
    answer.refuse("scored_tokens", fmt::format("must be {}", engine.length - 1));
  }
  return {.engine = answer.text("engine"), .nll_sum = answer.number("nll_sum")};
}

}  // namespace longrope
