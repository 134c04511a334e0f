#pragma once

#include "common/files/embedded_file.h"

#include <span>

namespace longrope {

/// schemas/migrations/NNNN_name.sql in the order of their numbers, compiled in.
[[nodiscard]] std::span<const EmbeddedFile> migration_files();
/// The same of schemas/pipeline_migrations.
[[nodiscard]] std::span<const EmbeddedFile> pipeline_migration_files();

}  // namespace longrope
