#pragma once

#include <string_view>

namespace longrope {

/// Where a needle or a pass key lies, as the share of the filler before it, 0 to 1. A document's name says it: it ends
/// in -DEPTH-SAMPLE ("passkey-0.500-03"; schemas/documents_file.md). Throws InputError for another name.
[[nodiscard]] double retrieval_depth(std::string_view document_name);

}  // namespace longrope
