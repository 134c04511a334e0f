#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace longrope {

/// An engine that is started for one document: tools/engine_nll.py, which is compiled into this program.
struct EngineProcess {
  std::string python = "python3";   // interpreter that has transformers, or llama_cpp for a .gguf file
  std::filesystem::path model;      // Hugging Face directory or .gguf file
  std::filesystem::path documents;  // documents file
  std::string document;             // name in it
  std::int64_t length = 0;          // tokens: the first of the document
  std::int64_t threads = 1;
};

struct EngineProcessNll {
  std::string engine;    // "transformers 5.24.0", for people
  double nll_sum = 0.0;  // nats, of all tokens but the first
};

/// Runs the engine to its end; its standard error is shown. Throws InputError when it cannot be started or fails, and
/// for anything but the NLL of length − 1 tokens.
[[nodiscard]] EngineProcessNll run_engine(const EngineProcess& engine);

}  // namespace longrope
