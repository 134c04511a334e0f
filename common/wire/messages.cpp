#include "common/wire/messages.h"

#include "common/error.h"

#include <msgpack.hpp>

#include <bit>
#include <cstring>
#include <map>
#include <type_traits>

namespace longrope {
namespace {

static_assert(std::endian::native == std::endian::little, "document tokens travel as little-endian bytes");

constexpr std::size_t kMaxText = 4096;
constexpr std::size_t kMaxArray = 65536;  // λ and blocks: 65,536 blocks are 268 million tokens
constexpr std::size_t kMaxDepth = 4;      // message > blocks > block > number
constexpr std::size_t kMaxFields = 16;

// The fields of each message, in wire order. `V` is Packer or Unpacker.
template <class V, class M>
void visit_sender(V& visit, M& message) {
  visit("worker", message.sender.worker);
  visit("incarnation", message.sender.incarnation);
}

template <class V, class M>
void visit_lease(V& visit, M& message) {
  visit("evaluation", message.lease.evaluation);
  visit("epoch", message.lease.epoch);
}

template <class V, class M>
void visit_fields(V& visit, M& m) {
  using T = std::remove_const_t<M>;
  if constexpr (requires { m.sender; }) visit_sender(visit, m);
  if constexpr (requires { m.lease; }) visit_lease(visit, m);
  if constexpr (std::is_same_v<T, Hello>) {
    visit("host", m.host);
    visit("threads", m.threads);
    visit("held", m.held);
  } else if constexpr (std::is_same_v<T, Ready>) {
    visit("model_digest", m.model_digest);
    visit("device", m.device);
    visit("threads", m.threads);
  } else if constexpr (std::is_same_v<T, Unable> || std::is_same_v<T, Refuse> || std::is_same_v<T, Dismiss>) {
    visit("reason", m.reason);
  } else if constexpr (std::is_same_v<T, NeedDocument>) {
    visit("digest", m.digest);
  } else if constexpr (std::is_same_v<T, Heartbeat>) {
    visit("progress", m.progress);
    visit("held", m.held);
  } else if constexpr (std::is_same_v<T, Result>) {
    visit("nll_sum", m.score.nll_sum);
    visit("scored_tokens", m.score.scored_tokens);
    visit("blocks", m.score.blocks);
    visit("gradient", m.score.gradient);
    visit("seconds", m.score.seconds);
    visit("peak_memory_bytes", m.score.peak_memory_bytes);
  } else if constexpr (std::is_same_v<T, Failure>) {
    visit("error", m.error);
    visit("detail", m.detail);
  } else if constexpr (std::is_same_v<T, Welcome>) {
    visit("model_name", m.model_name);
    visit("model_digest", m.model_digest);
    visit("dtype", m.dtype);
    visit("angles", m.angles);
    visit("threads", m.threads);
    visit("heartbeat_milliseconds", m.heartbeat_milliseconds);
  } else if constexpr (std::is_same_v<T, Work>) {
    visit("kind", m.kind);
    visit("lambda", m.lambda);
    visit("n_hat", m.n_hat);
    visit("attention_factor", m.attention_factor);
    visit("document_digest", m.document_digest);
    visit("length", m.length);
  } else if constexpr (std::is_same_v<T, DocumentData>) {
    visit("digest", m.digest);
    visit("name", m.document.name);
    visit("tokens", m.document.tokens);
    visit("scored", m.document.scored);
  } else if constexpr (std::is_same_v<T, Acknowledge>) {
    visit("outcome", m.outcome);
    visit("detail", m.detail);
  }
}

struct FieldCounter {
  std::uint32_t count = 2;  // type and version
  template <class T>
  void operator()(const char*, const T&) {
    ++count;
  }
};

class Packer {
 public:
  explicit Packer(msgpack::sbuffer& buffer) : packer_(buffer) {}

  template <class M>
  void pack_message(const M& message) {
    FieldCounter counter;
    visit_fields(counter, message);
    packer_.pack_map(counter.count);
    packer_.pack("type");
    packer_.pack(M::kType);
    packer_.pack("version");
    packer_.pack(kProtocolVersion);
    visit_fields(*this, message);
  }

  template <class T>
  void operator()(const char* name, const T& value) {
    packer_.pack(name);
    pack_value(value);
  }

 private:
  // A reason or detail may quote text of any length; the decoder refuses more than this.
  void pack_value(const std::string& text) { packer_.pack(text.substr(0, kMaxText)); }
  void pack_value(std::int64_t number) { packer_.pack(number); }
  void pack_value(double number) { packer_.pack(number); }
  void pack_value(const std::vector<double>& numbers) { packer_.pack(numbers); }
  void pack_value(const std::vector<std::int32_t>& tokens) { pack_bytes(tokens.data(), tokens.size() * 4); }
  void pack_value(const std::vector<std::uint8_t>& mask) { pack_bytes(mask.data(), mask.size()); }
  void pack_value(const std::vector<LeaseId>& leases) {
    packer_.pack_array(static_cast<std::uint32_t>(leases.size()));
    for (const LeaseId& lease : leases) {
      packer_.pack_array(2);
      packer_.pack(lease.evaluation);
      packer_.pack(lease.epoch);
    }
  }
  void pack_value(const std::vector<ScoredBlock>& blocks) {
    packer_.pack_array(static_cast<std::uint32_t>(blocks.size()));
    for (const ScoredBlock& block : blocks) {
      packer_.pack_array(2);
      packer_.pack(block.nll_sum);
      packer_.pack(block.scored_tokens);
    }
  }
  void pack_bytes(const void* bytes, std::size_t size) {
    packer_.pack_bin(static_cast<std::uint32_t>(size));
    packer_.pack_bin_body(static_cast<const char*>(bytes), static_cast<std::uint32_t>(size));
  }

  msgpack::packer<msgpack::sbuffer> packer_;
};

[[noreturn]] void refuse(const std::string& rule) { throw InputError("message refused: " + rule); }

class Unpacker {
 public:
  explicit Unpacker(const msgpack::object& object) {
    if (object.type != msgpack::type::MAP) refuse("a message must be a map");
    const msgpack::object_map& map = object.via.map;
    for (std::uint32_t i = 0; i < map.size; ++i) {
      const std::string key = text_of(map.ptr[i].key, "key");
      if (!fields_.emplace(key, &map.ptr[i].val).second) refuse("a field must be given once: " + key);
    }
    std::int64_t version = 0;
    (*this)("version", version);
    if (version != kProtocolVersion) {
      refuse("protocol version must be " + std::to_string(kProtocolVersion) + ": " + std::to_string(version));
    }
    (*this)("type", type_);
  }

  [[nodiscard]] const std::string& type() const { return type_; }

  void require_all_read() const {
    if (!fields_.empty()) refuse(type_ + " must have known fields only: " + fields_.begin()->first);
  }

  template <class T>
  void operator()(const char* name, T& value) {
    const auto found = fields_.find(name);
    if (found == fields_.end()) refuse(type_ + " must have the field " + name);
    unpack_value(*found->second, name, value);
    fields_.erase(found);
  }

 private:
  static std::string text_of(const msgpack::object& object, const char* name) {
    if (object.type != msgpack::type::STR) refuse(std::string(name) + " must be text");
    if (object.via.str.size > kMaxText) {
      refuse(std::string(name) + " must be at most " + std::to_string(kMaxText) +
             " bytes: " + std::to_string(object.via.str.size));
    }
    return {object.via.str.ptr, object.via.str.size};
  }
  static std::int64_t integer_of(const msgpack::object& object, const char* name) {
    // Every integer of the protocol counts something: none is negative.
    if (object.type != msgpack::type::POSITIVE_INTEGER || object.via.u64 > INT64_MAX) {
      refuse(std::string(name) + " must be a non-negative integer");
    }
    return static_cast<std::int64_t>(object.via.u64);
  }
  static double real_of(const msgpack::object& object, const char* name) {
    // MessagePack implementations may write a whole number as an integer.
    if (object.type == msgpack::type::FLOAT64) return object.via.f64;
    if (object.type == msgpack::type::POSITIVE_INTEGER) return static_cast<double>(object.via.u64);
    if (object.type == msgpack::type::NEGATIVE_INTEGER) return static_cast<double>(object.via.i64);
    refuse(std::string(name) + " must be a 64-bit number");
  }
  static const msgpack::object_array& array_of(const msgpack::object& object, const char* name) {
    if (object.type != msgpack::type::ARRAY) refuse(std::string(name) + " must be an array");
    return object.via.array;
  }
  static const msgpack::object_array& pair_of(const msgpack::object& object, const char* name) {
    const msgpack::object_array& pair = array_of(object, name);
    if (pair.size != 2) refuse(std::string(name) + " must hold pairs");
    return pair;
  }
  template <class T>
  static std::vector<T> bytes_of(const msgpack::object& object, const char* name) {
    if (object.type != msgpack::type::BIN || object.via.bin.size % sizeof(T) != 0) {
      refuse(std::string(name) + " must be a whole number of binary elements");
    }
    std::vector<T> values(object.via.bin.size / sizeof(T));
    if (!values.empty()) std::memcpy(values.data(), object.via.bin.ptr, object.via.bin.size);
    return values;
  }

  static void unpack_value(const msgpack::object& object, const char* name, std::string& text) {
    text = text_of(object, name);
  }
  static void unpack_value(const msgpack::object& object, const char* name, std::int64_t& number) {
    number = integer_of(object, name);
  }
  static void unpack_value(const msgpack::object& object, const char* name, double& number) {
    number = real_of(object, name);
  }
  static void unpack_value(const msgpack::object& object, const char* name, std::vector<double>& numbers) {
    const msgpack::object_array& array = array_of(object, name);
    for (std::uint32_t i = 0; i < array.size; ++i) numbers.push_back(real_of(array.ptr[i], name));
  }
  static void unpack_value(const msgpack::object& object, const char* name, std::vector<LeaseId>& leases) {
    const msgpack::object_array& array = array_of(object, name);
    for (std::uint32_t i = 0; i < array.size; ++i) {
      const msgpack::object_array& pair = pair_of(array.ptr[i], name);
      leases.push_back({integer_of(pair.ptr[0], name), integer_of(pair.ptr[1], name)});
    }
  }
  static void unpack_value(const msgpack::object& object, const char* name, std::vector<ScoredBlock>& blocks) {
    const msgpack::object_array& array = array_of(object, name);
    for (std::uint32_t i = 0; i < array.size; ++i) {
      const msgpack::object_array& pair = pair_of(array.ptr[i], name);
      blocks.push_back({real_of(pair.ptr[0], name), integer_of(pair.ptr[1], name)});
    }
  }
  static void unpack_value(const msgpack::object& object, const char* name, std::vector<std::int32_t>& tokens) {
    tokens = bytes_of<std::int32_t>(object, name);
  }
  static void unpack_value(const msgpack::object& object, const char* name, std::vector<std::uint8_t>& mask) {
    mask = bytes_of<std::uint8_t>(object, name);
  }

  std::map<std::string, const msgpack::object*> fields_;
  std::string type_ = "a message";
};

template <class Variant>
std::string encode_any(const Variant& message) {
  msgpack::sbuffer buffer;
  Packer packer(buffer);
  std::visit([&](const auto& m) { packer.pack_message(m); }, message);
  return {buffer.data(), buffer.size()};
}

template <class Variant, std::size_t I = 0>
Variant read_alternative(Unpacker& unpacker) {
  if constexpr (I == std::variant_size_v<Variant>) {
    refuse("type must be a known one: " + unpacker.type());
  } else {
    using M = std::variant_alternative_t<I, Variant>;
    if (unpacker.type() != M::kType) return read_alternative<Variant, I + 1>(unpacker);
    M message;
    visit_fields(unpacker, message);
    unpacker.require_all_read();
    if constexpr (requires { message.sender; }) {
      if (message.sender.worker.empty()) refuse("worker must not be empty");
      if (message.sender.incarnation.empty()) refuse("incarnation must not be empty");
    }
    return message;
  }
}

template <class Variant>
Variant decode_any(std::string_view frame, std::size_t max_bytes) {
  if (frame.size() > max_bytes) {
    refuse("a frame must be at most " + std::to_string(max_bytes) + " bytes: " + std::to_string(frame.size()));
  }
  try {
    const msgpack::unpack_limit limit(kMaxArray, kMaxFields, kMaxText, max_bytes, /*ext=*/0, kMaxDepth);
    std::size_t offset = 0;
    const msgpack::object_handle handle =
        msgpack::unpack(frame.data(), frame.size(), offset, /*reference=*/nullptr, nullptr, limit);
    if (offset != frame.size()) {
      refuse("a message must be the whole frame: " + std::to_string(frame.size() - offset) + " bytes follow it");
    }
    Unpacker unpacker(handle.get());
    return read_alternative<Variant>(unpacker);
  } catch (const msgpack::unpack_error& error) {
    refuse(std::string("a frame must be MessagePack within the limits: ") + error.what());
  }
}

}  // namespace

std::string encode(const WorkerMessage& message) { return encode_any(message); }
std::string encode(const CoordinatorMessage& message) { return encode_any(message); }

WorkerMessage decode_worker_message(std::string_view frame) {
  return decode_any<WorkerMessage>(frame, kMaxWorkerFrameBytes);
}
CoordinatorMessage decode_coordinator_message(std::string_view frame) {
  return decode_any<CoordinatorMessage>(frame, kMaxCoordinatorFrameBytes);
}

const Sender& sender_of(const WorkerMessage& message) {
  return std::visit([](const auto& m) -> const Sender& { return m.sender; }, message);
}

}  // namespace longrope
