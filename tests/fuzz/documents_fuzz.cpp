// A file of documents: metadata, tokens and masks on top of the .safetensors header.
#include "common/documents/documents.h"
#include "tests/fuzz/fuzz_target.h"

void longrope::read_hostile_input(std::string_view input) {
  const DocumentsFile file = read_documents(hostile_file("documents.safetensors", input));
  for (const Document& document : file.documents) {
    require_scorable(document, static_cast<std::int64_t>(document.tokens.size()), /*vocabulary=*/128'256);
    require_promise(scored_tokens(document, static_cast<std::int64_t>(document.tokens.size())) > 0,
                    "a scorable document must have scored tokens");
  }
}
