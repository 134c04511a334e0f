#pragma once

#include "common/wire/messages.h"
#include "coordinator/core/records.h"

#include <string>
#include <vector>

namespace longrope {

struct Outgoing {
  std::string peer;
  CoordinatorMessage message;
};

/// What the caller of a step has to do: first all writes, in one durable transaction, then the messages.
struct Effects {
  std::vector<Write> writes;
  std::vector<Outgoing> messages;
  std::vector<LeaseRecord> revoked;  // leases ended because nobody wants their result; their holders are told
};

}  // namespace longrope
