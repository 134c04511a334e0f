#pragma once

#include "common/config.h"

namespace longrope {

/// Reads every documents file that the stages of a pipeline name, so that a mistake in a late stage costs no days of
/// the stages before it. Throws InputError naming rule, value and file: no such file or not one of documents, another
/// tokenizer than the model's, a document shorter than its stage needs, a token outside the vocabulary, a document that
/// is trained on and also judges (held-out or evaluated).
void require_usable_documents(const Config& config);

}  // namespace longrope
