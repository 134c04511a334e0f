#pragma once

#include "common/config.h"

namespace longrope {

/// Reads every documents file that the stages of a pipeline name, and asks of the numbers of each stage what it will
/// ask itself, so that a mistake in a late stage costs no days of the stages before it. Throws InputError naming stage,
/// rule, value and file: no such file or not one of documents, fewer documents than the stage takes, another tokenizer
/// than the model's, a document shorter than its stage needs, a token outside the vocabulary, a document that is
/// trained on and also judges (held-out or evaluated); a built-in fine-tuning that require_consistent() refuses, short
/// samples above the original length; an evaluation beyond the longest table.
void require_feasible(const Config& config);

}  // namespace longrope
