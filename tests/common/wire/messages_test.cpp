#include "common/wire/messages.h"

#include "common/error.h"

#include <gtest/gtest.h>
#include <msgpack.hpp>

#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <vector>

namespace longrope {
namespace {

using Packer = msgpack::packer<msgpack::sbuffer>;

constexpr std::int64_t kLargest = std::numeric_limits<std::int64_t>::max();
const Sender kSender{"worker-1", "incarnation-1"};

std::vector<WorkerMessage> worker_messages() {
  return {
      Hello{kSender, "host", 4, {{1, 2}, {3, 4}}},
      Ready{kSender, "model-digest", "cpu fp32", 1},
      Unable{kSender, "no such model"},
      NeedDocument{kSender, "digest"},
      Heartbeat{kSender, kLargest, {{5, 1}}},
      Result{kSender, {7, 3}, {1234.5678901234567, 8191, {{1000.5, 4096}, {234.0678901234567, 4095}}, 1.5, 1 << 30}},
      Result{kSender, {8, 1}, {2.5, 1, {{2.5, 1}}, 1.5, 1 << 30, {-0.125, 3.5e-9, 12.0}}},
      Failure{kSender, {7, 3}, 2, "12 GiB wanted"},
      Leaving{kSender}};
}

std::vector<CoordinatorMessage> coordinator_messages() {
  Document document;
  document.name = "document \xc3\xa9";
  document.tokens = {256, 0, 1, std::numeric_limits<std::int32_t>::max()};
  document.scored = {0, 1, 1, 0};
  return {Welcome{"model", "digest", "fp32", "fp64", 1, 1000},
          Introduce{},
          Refuse{"why"},
          Work{{kLargest, 1}, 0, {1.0, std::nextafter(1.1, 2.0), 4.0}, 4, 1.19, "digest", 4096},
          Revoke{{7, 3}},
          DocumentData{"digest", document},
          Acknowledge{{7, 3}, "stored", ""},
          Pong{},
          Dismiss{"the search is finished"}};
}

/// Every frame there is, of both directions.
std::vector<std::string> all_frames() {
  std::vector<std::string> frames;
  for (const auto& message : worker_messages()) frames.push_back(encode(message));
  for (const auto& message : coordinator_messages()) frames.push_back(encode(message));
  return frames;
}

/// Either a message or an InputError; anything else that escapes fails the test.
template <class Decode>
bool is_accepted(Decode decode, std::string_view frame) {
  try {
    (void)decode(frame);
    return true;
  } catch (const InputError&) {
    return false;
  }
}

int acceptances(std::string_view frame) {
  return static_cast<int>(is_accepted(decode_worker_message, frame)) +
         static_cast<int>(is_accepted(decode_coordinator_message, frame));
}

std::string packed(const std::function<void(Packer&)>& fill) {
  msgpack::sbuffer buffer;
  Packer packer(buffer);
  fill(packer);
  return {buffer.data(), buffer.size()};
}

/// A "leaving" of `fields` fields that begins correctly; `fill` packs those after type and version.
std::string leaving_with(std::uint32_t fields, const std::function<void(Packer&)>& fill) {
  return packed([&](Packer& packer) {
    packer.pack_map(fields);
    packer.pack("type");
    packer.pack("leaving");
    packer.pack("version");
    packer.pack(kProtocolVersion);
    fill(packer);
  });
}

std::string refusal(const std::string& frame) {
  try {
    (void)decode_worker_message(frame);
  } catch (const InputError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(MessagesTest, EveryWorkerMessageComesBackAsItWas) {
  for (const WorkerMessage& message : worker_messages()) {
    const std::string frame = encode(message);
    const WorkerMessage decoded = decode_worker_message(frame);
    EXPECT_EQ(decoded.index(), message.index());
    EXPECT_EQ(encode(decoded), frame);
    EXPECT_EQ(sender_of(decoded), kSender);
  }
}

TEST(MessagesTest, EveryCoordinatorMessageComesBackAsItWas) {
  for (const CoordinatorMessage& message : coordinator_messages()) {
    const std::string frame = encode(message);
    const CoordinatorMessage decoded = decode_coordinator_message(frame);
    EXPECT_EQ(decoded.index(), message.index());
    EXPECT_EQ(encode(decoded), frame);
  }
}

TEST(MessagesTest, FieldsArriveBitExactly) {
  const auto result = std::get<Result>(decode_worker_message(encode(worker_messages().at(5))));
  EXPECT_EQ(result.lease, (LeaseId{7, 3}));
  EXPECT_TRUE(result.score.same_result(std::get<Result>(worker_messages().at(5)).score));
  EXPECT_EQ(result.score.peak_memory_bytes, 1 << 30);
  const auto work = std::get<Work>(decode_coordinator_message(encode(coordinator_messages().at(3))));
  EXPECT_EQ(work.lambda, std::get<Work>(coordinator_messages().at(3)).lambda);
  EXPECT_EQ(work.lease.evaluation, kLargest);
  EXPECT_EQ(work.n_hat, 4);
  const auto document = std::get<DocumentData>(decode_coordinator_message(encode(coordinator_messages().at(5))));
  EXPECT_EQ(document.document.tokens, (std::vector<std::int32_t>{256, 0, 1, 2147483647}));
  EXPECT_EQ(document.document.scored, (std::vector<std::uint8_t>{0, 1, 1, 0}));
}

TEST(MessagesTest, NonFiniteNumbersPassBecauseTheSchedulerJudgesThem) {
  auto message = std::get<Result>(worker_messages().at(5));
  message.score.nll_sum = std::numeric_limits<double>::quiet_NaN();
  message.score.blocks.front().nll_sum = -std::numeric_limits<double>::infinity();
  const auto decoded = std::get<Result>(decode_worker_message(encode(message)));
  EXPECT_TRUE(std::isnan(decoded.score.nll_sum));
  EXPECT_EQ(decoded.score.blocks.front().nll_sum, -std::numeric_limits<double>::infinity());
}

TEST(MessagesTest, WireBytesStayAsTheyAre) {
  // map of 4: "type" "leaving" "version" 2 "worker" "a" "incarnation" "b"; a change needs another protocol version.
  const std::string expected =
      "\x84\xa4type\xa7leaving\xa7version\x02\xa6worker\xa1"
      "a\xab"
      "incarnation\xa1"
      "b";
  EXPECT_EQ(encode(WorkerMessage(Leaving{{"a", "b"}})), expected);
}

TEST(MessagesTest, FrameTruncatedAtAnyByteIsRefused) {
  for (const std::string& frame : all_frames()) {
    for (std::size_t size = 0; size < frame.size(); ++size) {
      const std::string_view part = std::string_view(frame).substr(0, size);
      EXPECT_THROW((void)decode_worker_message(part), InputError) << size;
      EXPECT_THROW((void)decode_coordinator_message(part), InputError) << size;
    }
  }
}

TEST(MessagesTest, BytesAfterTheMessageAreRefused) {
  for (const WorkerMessage& message : worker_messages()) {
    EXPECT_THROW((void)decode_worker_message(encode(message) + '\xc0'), InputError);
    EXPECT_THROW((void)decode_worker_message(encode(message) + encode(message)), InputError);
  }
}

TEST(MessagesTest, MessagesOfTheOtherDirectionAreRefused) {
  for (const auto& message : worker_messages()) {
    EXPECT_THROW((void)decode_coordinator_message(encode(message)), InputError);
  }
  for (const auto& message : coordinator_messages()) {
    EXPECT_THROW((void)decode_worker_message(encode(message)), InputError);
  }
}

TEST(MessagesTest, WhatIsNoMapIsRefused) {
  for (const std::string& frame : {std::string(), std::string("\xc0"), std::string("\x90"), std::string("\x01"),
                                   std::string("GET / HTTP/1.1\r\n\r\n"), std::string(1000, '\0'),
                                   std::string(1000, '\xff'), std::string("\xc1")}) {
    EXPECT_THROW((void)decode_worker_message(frame), InputError);
  }
}

TEST(MessagesTest, OtherVersionIsRefusedByNumber) {
  for (const int version : {0, 1, 3}) {
    const std::string frame = packed([&](Packer& packer) {
      packer.pack_map(2);
      packer.pack("type");
      packer.pack("leaving");
      packer.pack("version");
      packer.pack(version);
    });
    EXPECT_NE(refusal(frame).find("protocol version must be 2: " + std::to_string(version)), std::string::npos);
  }
}

TEST(MessagesTest, UnknownTypeIsRefusedByName) {
  const std::string frame = packed([](Packer& packer) {
    packer.pack_map(2);
    packer.pack("type");
    packer.pack("reboot");
    packer.pack("version");
    packer.pack(kProtocolVersion);
  });
  EXPECT_NE(refusal(frame).find("type must be a known one: reboot"), std::string::npos) << refusal(frame);
}

TEST(MessagesTest, MissingUnknownAndRepeatedFieldsAreRefusedByName) {
  const auto pack_sender = [](Packer& packer) {
    packer.pack("worker");
    packer.pack("w");
    packer.pack("incarnation");
    packer.pack("i");
  };
  EXPECT_EQ(refusal(leaving_with(4, pack_sender)), "accepted");
  EXPECT_NE(refusal(leaving_with(3,
                                 [](Packer& packer) {
                                   packer.pack("worker");
                                   packer.pack("w");
                                 }))
                .find("leaving must have the field incarnation"),
            std::string::npos);
  EXPECT_NE(refusal(leaving_with(5,
                                 [&](Packer& packer) {
                                   pack_sender(packer);
                                   packer.pack("extra");
                                   packer.pack(1);
                                 }))
                .find("leaving must have known fields only: extra"),
            std::string::npos);
  EXPECT_NE(refusal(leaving_with(5,
                                 [&](Packer& packer) {
                                   pack_sender(packer);
                                   packer.pack("worker");
                                   packer.pack("other");
                                 }))
                .find("a field must be given once: worker"),
            std::string::npos);
}

TEST(MessagesTest, FieldsOfAnotherTypeAreRefused) {
  const std::vector<std::function<void(Packer&)>> values = {[](Packer& packer) { packer.pack_nil(); },
                                                            [](Packer& packer) { packer.pack(7); },
                                                            [](Packer& packer) { packer.pack(1.5); },
                                                            [](Packer& packer) { packer.pack(true); },
                                                            [](Packer& packer) { packer.pack_map(0); },
                                                            [](Packer& packer) { packer.pack_array(0); },
                                                            [](Packer& packer) {
                                                              packer.pack_bin(1);
                                                              packer.pack_bin_body("w", 1);
                                                            }};
  for (const auto& value : values) {
    EXPECT_NE(refusal(leaving_with(4,
                                   [&](Packer& packer) {
                                     packer.pack("worker");
                                     value(packer);
                                     packer.pack("incarnation");
                                     packer.pack("i");
                                   }))
                  .find("worker must be text"),
              std::string::npos);
  }
}

TEST(MessagesTest, NegativeAndOversizedIntegersAreRefused) {
  const auto progress = [](const std::function<void(Packer&)>& value) {
    return packed([&](Packer& packer) {
      packer.pack_map(6);
      for (const auto& [key, text] : {std::pair{"type", "heartbeat"}, {"worker", "w"}, {"incarnation", "i"}}) {
        packer.pack(key);
        packer.pack(text);
      }
      packer.pack("version");
      packer.pack(kProtocolVersion);
      packer.pack("held");
      packer.pack_array(0);
      packer.pack("progress");
      value(packer);
    });
  };
  EXPECT_EQ(refusal(progress([](Packer& packer) { packer.pack(5); })), "accepted");
  for (const auto& value : std::vector<std::function<void(Packer&)>>{
           [](Packer& packer) { packer.pack(-1); },
           [](Packer& packer) { packer.pack(std::numeric_limits<std::int64_t>::min()); },
           [](Packer& packer) { packer.pack(std::numeric_limits<std::uint64_t>::max()); },
           [](Packer& packer) { packer.pack(5.5); }}) {
    EXPECT_NE(refusal(progress(value)).find("progress must be a non-negative integer"), std::string::npos);
  }
}

TEST(MessagesTest, SenderWithoutNameIsRefused) {
  // An empty worker id names nobody; the database does not take it either.
  EXPECT_NE(refusal(encode(WorkerMessage(Leaving{{"", "i"}}))).find("worker must not be empty"), std::string::npos);
  EXPECT_NE(refusal(encode(WorkerMessage(Leaving{{"w", ""}}))).find("incarnation must not be empty"),
            std::string::npos);
}

TEST(MessagesTest, OversizedFrameIsRefusedUnread) {
  EXPECT_NE(refusal(std::string(kMaxWorkerFrameBytes + 1, '\x81')).find("at most 1048576"), std::string::npos);
  EXPECT_THROW((void)decode_coordinator_message(std::string(kMaxCoordinatorFrameBytes + 1, '\x81')), InputError);
}

TEST(MessagesTest, OverlongTextIsRefusedButOwnReasonsAreCutSoThatTheyArrive) {
  EXPECT_NE(refusal(leaving_with(4,
                                 [](Packer& packer) {
                                   packer.pack("worker");
                                   packer.pack(std::string(4097, 'w'));
                                   packer.pack("incarnation");
                                   packer.pack("i");
                                 })),
            "accepted");
  const auto failure =
      decode_worker_message(encode(WorkerMessage(Failure{kSender, {1, 1}, 5, std::string(9000, 'x')})));
  EXPECT_EQ(std::get<Failure>(failure).detail.size(), 4096U);
}

TEST(MessagesTest, HeadersThatPromiseMoreThanTheyHoldAreRefusedWithoutTheMemory) {
  // array32, map32, str32, bin32 of 2^32 − 1; ext; nested arrays of 65,535.
  for (const char* header : {"\xdd\xff\xff\xff\xff", "\xdf\xff\xff\xff\xff", "\xdb\xff\xff\xff\xff",
                             "\xc6\xff\xff\xff\xff", "\xc7\xff\x01", "\xc9\xff\xff\xff\xff"}) {
    EXPECT_THROW((void)decode_worker_message(header), InputError);
    EXPECT_THROW((void)decode_worker_message(std::string("\x81\xa4type") + header), InputError);
  }
  std::string nested = "\x81\xa4type";
  for (int i = 0; i < 1000; ++i) nested += "\xdc\xff\xff";
  EXPECT_THROW((void)decode_worker_message(nested), InputError);
}

TEST(MessagesTest, DeepNestingIsRefused) {
  std::string nested = "\x81\xa4type";
  nested += std::string(100'000, '\x91');
  EXPECT_THROW((void)decode_worker_message(nested), InputError);
  EXPECT_THROW((void)decode_worker_message(std::string(100'000, '\x91')), InputError);
}

TEST(MessagesTest, BinaryThatIsNoWholeNumberOfElementsIsRefused) {
  const std::string frame = packed([](Packer& packer) {
    packer.pack_map(6);
    for (const auto& [key, text] : {std::pair{"type", "document"}, {"digest", "d"}, {"name", "n"}}) {
      packer.pack(key);
      packer.pack(text);
    }
    packer.pack("version");
    packer.pack(kProtocolVersion);
    packer.pack("tokens");
    packer.pack_bin(5);
    packer.pack_bin_body("12345", 5);
    packer.pack("scored");
    packer.pack_bin(0);
    packer.pack_bin_body("", 0);
  });
  EXPECT_THROW((void)decode_coordinator_message(frame), InputError);
}

TEST(MessagesTest, LargestDocumentOfADesignFitsTheFrame) {
  DocumentData data;
  data.document.tokens.assign(std::size_t{2} << 20, 31999);
  data.document.scored.assign(std::size_t{2} << 20, 1);
  const std::string frame = encode(CoordinatorMessage(data));
  EXPECT_LE(frame.size(), kMaxCoordinatorFrameBytes);
  EXPECT_EQ(std::get<DocumentData>(decode_coordinator_message(frame)).document.tokens.size(), std::size_t{2} << 20);
}

TEST(MessagesTest, ResultOfTheLongestDocumentFitsTheFrame) {
  // 2,097,152 tokens are 512 blocks.
  auto message = std::get<Result>(worker_messages().at(5));
  message.score.blocks.assign(512, {9000.123, kBlockTokens});
  EXPECT_EQ(std::get<Result>(decode_worker_message(encode(message))).score.blocks.size(), 512U);
}

/// One frame with one to four changes: bytes replaced, removed, inserted, or another frame's tail put on.
std::string mutant(const std::vector<std::string>& frames, std::mt19937& random) {
  const auto below = [&](std::size_t end) { return std::uniform_int_distribution<std::size_t>(0, end - 1)(random); };
  std::string frame = frames[below(frames.size())];
  const std::size_t changes = 1 + below(4);
  for (std::size_t change = 0; change < changes && !frame.empty(); ++change) {
    const std::size_t place = below(frame.size());
    switch (below(4)) {
      case 0:
        frame[place] = static_cast<char>(below(256));
        break;
      case 1:
        frame.erase(place, 1 + below(8));
        break;
      case 2:
        frame.insert(place, 1 + below(4), static_cast<char>(below(256)));
        break;
      default:
        frame = frame.substr(0, place) + frames[below(frames.size())].substr(below(8));
    }
  }
  return frame;
}

TEST(MessagesTest, RandomMutationsAreReadOrRefusedAndNeverCrash) {
  const std::vector<std::string> frames = all_frames();
  int accepted = 0;
  for (unsigned seed = 1; seed <= 20; ++seed) {
    std::mt19937 random(seed);
    for (int i = 0; i < 1000; ++i) accepted += acceptances(mutant(frames, random));
  }
  EXPECT_GT(accepted, 0) << "a changed digit is still a message";
  EXPECT_LT(accepted, 10'000);
}

TEST(MessagesTest, RandomBytesAreRefused) {
  std::uniform_int_distribution<int> byte(0, 255);
  std::uniform_int_distribution<int> size(0, 64);
  for (unsigned seed = 1; seed <= 20; ++seed) {
    std::mt19937 random(seed);
    for (int i = 0; i < 1000; ++i) {
      std::string frame(static_cast<std::size_t>(size(random)), '\0');
      for (char& c : frame) c = static_cast<char>(byte(random));
      EXPECT_EQ(acceptances(frame), 0);
    }
  }
}

}  // namespace
}  // namespace longrope
