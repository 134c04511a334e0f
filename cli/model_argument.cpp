#include "cli/model_argument.h"

#include "common/error.h"

#include <iostream>
#include <string>

namespace longrope {

void add_reached_length(CLI::App& command, std::optional<std::int64_t>& reached_length) {
  command
      .add_option("--reached-length", reached_length,
                  "Tokens that the model is made for, where its config.json has linear or yarn scaling and leaves open "
                  "whether max_position_embeddings is already the extended length [factor times that]")
      ->type_name("TOKENS")
      ->check(CLI::Range(std::int64_t{2}, std::int64_t{1} << 31));
}

void warn_about(const ModelDescription& model) {
  const auto warn = [](const std::string& sentence) {
    std::cerr << "longrope: warning: " << printable_text(sentence) << std::endl;
  };
  if (!model.assumption.empty()) warn(model.assumption);
  for (const std::string& sentence : model.warnings) warn(sentence);
}

ModelDescription described_model(const std::filesystem::path& directory, std::optional<std::int64_t> reached_length) {
  ModelDescription model = describe_model(directory, reached_length);
  warn_about(model);
  return model;
}

}  // namespace longrope
