#pragma once

#include "common/model/model_description.h"
#include "config/search_config.h"
#include "coordinator/search/search_algorithm.h"

#include <cstdint>
#include <string>

namespace longrope {

/// What `stage` searches over on the checkpoint `model`. Reads the stage's seed files, and neither documents nor
/// weights. The stage's algorithm can be made from the result (make_search_algorithm).
/// Throws InputError naming rule, value and `place` ("stage 128k, search.toml"), or the seed file: a target length that
/// is no extension of the model (of a recovery: one that the model does not reach), parameters that the method does not
/// have or that leave nothing to search, a seed that does not fit; on a model that carries rope scaling also n̂ > 0 and
/// a seed below what it carries.
[[nodiscard]] SearchSpace search_space(const SearchStage& stage, const ModelDescription& model,
                                       const std::string& place);

/// Throws what search_space() and prepare_search() would throw about `stage` of a pipeline, before the checkpoint that
/// it takes and the winners of its seed stages are there. The checkpoint is trained from `model` and reaches
/// `reached_length` tokens; with the model's own reached length it is `model` itself.
void require_search_possible(const SearchStage& stage, const ModelDescription& model, std::int64_t reached_length,
                             const std::string& place);

}  // namespace longrope
