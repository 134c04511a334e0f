#include "evaluation/engines/curl_client.h"

#include "common/error.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <future>
#include <string>
#include <thread>

namespace longrope {
namespace {

using testing::HasSubstr;

/// A server on 127.0.0.1 that takes one connection and, as soon as a request ends with `last`, writes `answer`, as it
/// stands, and closes.
class OneAnswerServer {
 public:
  OneAnswerServer(std::string last, std::string answer) : socket_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    if (bind(socket_, reinterpret_cast<sockaddr*>(&address), size) != 0 || listen(socket_, 1) != 0 ||
        getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
      throw Error("cannot listen on 127.0.0.1");
    }
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this, last = std::move(last), answer = std::move(answer)] { serve(last, answer); });
  }
  ~OneAnswerServer() {
    if (thread_.joinable()) thread_.join();
    close(socket_);
  }
  OneAnswerServer(const OneAnswerServer&) = delete;
  OneAnswerServer& operator=(const OneAnswerServer&) = delete;

  [[nodiscard]] std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  [[nodiscard]] std::string request() { return request_.get_future().get(); }

 private:
  void serve(const std::string& last, const std::string& answer) {
    const int connection = accept(socket_, nullptr, nullptr);
    std::string request;
    std::array<char, 4096> part{};
    while (!request.ends_with(last)) {
      const ssize_t count = read(connection, part.data(), part.size());
      if (count <= 0) break;
      request.append(part.data(), static_cast<std::size_t>(count));
    }
    static_cast<void>(send(connection, answer.data(), answer.size(), MSG_NOSIGNAL));
    // Without an answer the client gives up first; reading until then keeps the connection open.
    if (answer.empty()) static_cast<void>(read(connection, part.data(), part.size()));
    close(connection);
    request_.set_value(request);
  }

  int socket_;
  int port_ = 0;
  std::promise<std::string> request_;
  std::thread thread_;
};

std::string refusal(CurlClient& client) {
  try {
    static_cast<void>(client.get("/props"));
  } catch (const InputError& error) {
    return error.what();
  }
  return "not refused";
}

TEST(CurlClientTest, ARequestIsPostedAndItsAnswerReturned) {
  OneAnswerServer server("}", "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{\"a\":1}");
  CurlClient client(server.url() + "/v1/", {.key = "secret"});
  const HttpAnswer answer = client.post("/v1/completions", R"({"prompt":[1,2]})");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, "{\"a\":1}");
  EXPECT_EQ(answer.place, "POST " + server.url() + "/v1/completions");
  const std::string request = server.request();
  EXPECT_THAT(request, HasSubstr("POST /v1/completions HTTP/1.1\r\n"));
  EXPECT_THAT(request, HasSubstr("Content-Type: application/json\r\n"));
  EXPECT_THAT(request, HasSubstr("Authorization: Bearer secret\r\n"));
  EXPECT_THAT(request, HasSubstr("\r\n\r\n{\"prompt\":[1,2]}"));
}

TEST(CurlClientTest, AnswersOfAnyStatusAreReturned) {
  OneAnswerServer server("\r\n\r\n", "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone");
  CurlClient client(server.url(), {});
  const HttpAnswer answer = client.get("/props");
  EXPECT_EQ(answer.status, 404);
  EXPECT_EQ(answer.body, "none");
}

TEST(CurlClientTest, RedirectionsAreNotFollowed) {
  OneAnswerServer server("\r\n\r\n", "HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n");
  CurlClient client(server.url(), {});
  EXPECT_EQ(client.get("/props").status, 302);
}

TEST(CurlClientTest, AnAnswerThatIsTooLargeIsRefused) {
  OneAnswerServer server("\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n" + std::string(1025, 'x'));
  CurlClient client(server.url(), {.most_bytes = 1024});
  EXPECT_THAT(refusal(client), HasSubstr("an engine's answer must have at most 1.0 KiB: it has more (GET http://127"));
}

TEST(CurlClientTest, AnAnswerThatEndsEarlyIsRefused) {
  OneAnswerServer server("\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{");
  CurlClient client(server.url(), {});
  EXPECT_THAT(refusal(client), HasSubstr("an engine must answer: "));
}

TEST(CurlClientTest, AServerThatDoesNotAnswerIsGivenUp) {
  OneAnswerServer server("\r\n\r\n", "");
  CurlClient client(server.url(), {.timeout = std::chrono::seconds(1)});
  EXPECT_THAT(refusal(client), HasSubstr("an engine must answer: "));
}

TEST(CurlClientTest, AnAddressWhereNobodyListensIsRefused) {
  std::string url;
  {
    OneAnswerServer server("\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    url = server.url();
    CurlClient client(url, {});
    EXPECT_EQ(client.get("/").status, 200);
  }
  CurlClient client(url, {});
  EXPECT_THAT(refusal(client), HasSubstr("an engine must answer: "));
}

TEST(CurlClientTest, AddressesOfOtherSchemesAndKeysOfSeveralLinesAreRefused) {
  for (const char* address : {"", "localhost:8000", "file:///etc/passwd", "http://", "https://", "http:///v1"}) {
    EXPECT_THROW(CurlClient(address, {}), InputError) << address;
  }
  EXPECT_THROW(CurlClient("http://localhost", {.key = "a\r\nHost: b"}), InputError);
}

}  // namespace
}  // namespace longrope
