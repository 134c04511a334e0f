#pragma once

#include "common/model/model_description.h"

#include <CLI/CLI.hpp>

#include <cstdint>
#include <filesystem>
#include <optional>

namespace longrope {

/// Adds --reached-length, which sets `reached_length`: for describe_model(), where config.json leaves it open.
void add_reached_length(CLI::App& command, std::optional<std::int64_t>& reached_length);

/// Says on standard error, a line each, what was assumed about the model and which keys of its config.json change
/// nothing here.
void warn_about(const ModelDescription& model);

/// describe_model() and warn_about(): how a command reads the model that it is given.
[[nodiscard]] ModelDescription described_model(const std::filesystem::path& directory,
                                               std::optional<std::int64_t> reached_length);

}  // namespace longrope
