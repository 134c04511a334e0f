#include "common/formats/engine.h"

#include "common/error.h"

#include <fmt/format.h>

#include <algorithm>

namespace longrope {

std::string_view to_string(Engine engine) {
  switch (engine) {
    case Engine::kTransformers:
      return "transformers";
    case Engine::kVllm:
      return "vllm";
    case Engine::kSglang:
      return "sglang";
    case Engine::kLlamaCpp:
      return "llama.cpp";
    case Engine::kMlx:
      return "mlx";
  }
  return {};
}

Engine parse_engine(std::string_view name) {
  const auto* const found = std::ranges::find(kEngines, name, [](Engine engine) { return to_string(engine); });
  if (found == kEngines.end()) {
    throw InputError(fmt::format("engine must be transformers, vllm, sglang, llama.cpp or mlx: {}", name));
  }
  return *found;
}

std::string_view release_of(Engine engine) {
  switch (engine) {
    case Engine::kTransformers:
      return "transformers 5.24";
    case Engine::kVllm:
      return "vLLM 0.33.0";
    case Engine::kSglang:
      return "SGLang 0.5.23";
    case Engine::kLlamaCpp:
      return "llama.cpp 0c1e570";
    case Engine::kMlx:
      return "mlx-lm 0.32.0";
  }
  return {};
}

}  // namespace longrope
