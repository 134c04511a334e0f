// Frames from a peer, in both directions.
#include "common/error.h"
#include "common/wire/messages.h"
#include "tests/fuzz/fuzz_target.h"

namespace longrope {
namespace {

template <class Message>
void require_comes_back(const Message& message, Message (*decode)(std::string_view)) {
  const std::string frame = encode(message);
  bool same = false;
  try {
    same = encode(decode(frame)) == frame;  // compared as bytes, because NaN is not equal to itself
  } catch (const InputError&) {
    same = false;
  }
  require_promise(same, "what was accepted must be sent and accepted again");
}

}  // namespace

void read_hostile_input(std::string_view input) {
  try {
    require_comes_back(decode_worker_message(input), &decode_worker_message);
  } catch (const InputError&) {  // perhaps a frame of the other direction
    require_comes_back(decode_coordinator_message(input), &decode_coordinator_message);
  }
}

}  // namespace longrope
