#pragma once

#include <array>
#include <string_view>

namespace longrope {

/// Programs that run exported factors.
enum class Engine { kTransformers, kVllm, kSglang, kLlamaCpp, kMlx };

inline constexpr std::array<Engine, 5> kEngines = {Engine::kTransformers, Engine::kVllm, Engine::kSglang,
                                                   Engine::kLlamaCpp, Engine::kMlx};

/// "transformers", "vllm", "sglang", "llama.cpp" or "mlx", as options call them.
[[nodiscard]] std::string_view to_string(Engine engine);
/// Throws InputError for another name.
[[nodiscard]] Engine parse_engine(std::string_view name);
/// The release whose code was read for what is known of the engine: "vLLM 0.33.0".
[[nodiscard]] std::string_view release_of(Engine engine);

}  // namespace longrope
