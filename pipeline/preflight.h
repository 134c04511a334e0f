#pragma once

#include "config/config.h"

#include <set>
#include <string>

namespace longrope {

/// Stages of a pipeline that has run already.
struct StagesOver {
  std::set<std::string> finished;
  std::set<std::string> skipped;
};

/// Reads every documents file that the stages of a pipeline name, and asks of the numbers of each stage what it will
/// ask itself, so that a mistake in a late stage costs no days of the stages before it. Throws InputError naming stage,
/// rule, value and file: no such file or not one of documents, fewer documents than the stage takes, another tokenizer
/// than the model's, a document shorter than its stage needs, a token outside the vocabulary, text that is trained on
/// and also judges (SharedText); a search that does not go beyond its checkpoint, a recovery that does or has the
/// method "authors"; n̂ > 0 where nothing can express it; a built-in fine-tuning that require_consistent() refuses,
/// short samples above the original length; an evaluation beyond the longest table. Of finished stages only documents
/// that are still there are read; skipped ones are as if they were not there.
void require_feasible(const Config& config, const StagesOver& over);

}  // namespace longrope
