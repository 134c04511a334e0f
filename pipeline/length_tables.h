#pragma once

#include "common/formats/factors_file.h"
#include "coordinator/store/pipeline_store.h"
#include "pipeline/checkpoints.h"
#include "pipeline/pipeline_places.h"

#include <vector>

namespace longrope {

/// Finished stages before `stage` on its checkpoint that found tables for its schedule: recoveries, and searches for
/// shorter lengths than that of the factors which `stage` takes.
[[nodiscard]] std::vector<const PipelineStageRecord*> table_stages(const PipelineStageRecord& stage,
                                                                   const PipelinePlaces& places);

/// All tables for the checkpoint of `stage`, by length: the checkpoint's own up to the length that it reaches, those of
/// table_stages() in their places, and that of the factors which `stage` takes, the longest. `stage.inputs` has the
/// checkpoint's digest.
[[nodiscard]] FactorsFile length_tables(const PipelineStageRecord& stage, const PipelinePlaces& places,
                                        Checkpoints& checkpoints);

}  // namespace longrope
