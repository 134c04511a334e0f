#include "evaluation/evaluation_report.h"

#include "common/error.h"

#include <fmt/format.h>

namespace longrope {

std::string_view to_string(RetrievalKind kind) {
  switch (kind) {
    case RetrievalKind::kPasskey:
      return "passkey";
    case RetrievalKind::kNeedle:
      return "needle";
  }
  throw Error(fmt::format("unknown kind of retrieval: {}", static_cast<int>(kind)));
}

}  // namespace longrope
