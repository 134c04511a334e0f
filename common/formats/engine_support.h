#pragma once

#include "common/formats/engine.h"
#include "common/formats/engine_tables.h"
#include "common/model/model_description.h"

#include <string>
#include <string_view>
#include <vector>

namespace longrope {

/// What an engine computes angles from, for one class of models.
struct EngineSupport {
  Engine engine;
  std::string_view architecture;  // a name of kArchitectures
  bool tables;                    // one λ for each pair: rope_type longrope, in llama.cpp tensors of the GGUF file
  bool plain_blocks;              // rope_type linear, yarn and llama3; a changed rope_theta all engines take
  std::string_view source;        // the file of release_of(engine) that says so, and what it does where it takes less
};

/// Throws InputError for an architecture that nobody has looked up for the engine.
[[nodiscard]] const EngineSupport& engine_support(Engine engine, std::string_view architecture);

/// Factors in the form in which an engine takes them.
struct EngineForm {
  EngineTables tables;               // with `plain` where the engine gets a plain block
  std::vector<std::string> remarks;  // what a person should know of it, a sentence each
};

/// A plain block where plain_rope_of() finds one that the engine computes, m included, because it needs no support of
/// the engine for the model; else the tables, where the engine takes them; else InputError with the reasons, naming
/// `place`. A short table of its own excludes a plain block, which holds at every length. Also throws what
/// require_expressible() throws.
[[nodiscard]] EngineForm form_for_engine(Engine engine, const ModelDescription& model, EngineTables tables,
                                         const std::string& place);

}  // namespace longrope
