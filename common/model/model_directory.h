#pragma once

#include <filesystem>

namespace longrope {

/// Throws InputError unless `directory` is a directory with a config.json. The message says what to do instead:
/// download what looks like a name on Hugging Face, merge an adapter.
void require_model_directory(const std::filesystem::path& directory);

/// Throws the InputError for a model directory without `missing`, a file of weights. The message names what is there in
/// its place (an adapter, pytorch_model.bin, GGUF) and how it becomes a checkpoint.
[[noreturn]] void refuse_missing_weights(const std::filesystem::path& directory, const std::filesystem::path& missing);

}  // namespace longrope
