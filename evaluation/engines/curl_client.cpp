#include "evaluation/engines/curl_client.h"

#include "common/error.h"
#include "common/size_text.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <array>
#include <cstdint>
#include <string_view>
#include <utility>

namespace longrope {
namespace {

constexpr long kConnectSeconds = 10;

struct Body {
  std::string text;
  std::size_t most_bytes = 0;
  bool too_large = false;
};

/// Called by libcurl for each part of an answer; returning fewer bytes than were offered ends the transfer.
std::size_t append(const char* data, std::size_t size, std::size_t count, void* target) {
  auto& body = *static_cast<Body*>(target);
  const std::size_t bytes = size * count;
  if (bytes > body.most_bytes - body.text.size()) {
    body.too_large = true;
    return 0;
  }
  body.text.append(data, bytes);
  return bytes;
}

}  // namespace

struct CurlClient::Connection {
  CURL* curl = curl_easy_init();
  curl_slist* headers = nullptr;

  Connection() {
    if (curl == nullptr) throw Error("cannot start libcurl");
  }
  ~Connection() {
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  void add_header(const std::string& line) {
    curl_slist* const longer = curl_slist_append(headers, line.c_str());
    if (longer == nullptr) throw Error("cannot add a header to an HTTP request: not enough memory");
    headers = longer;
  }
};

CurlClient::CurlClient(std::string address, CurlOptions options)
    : address_(std::move(address)), options_(std::move(options)), connection_(std::make_unique<Connection>()) {
  while (address_.ends_with('/')) address_.pop_back();
  constexpr std::string_view kVersion = "/v1";  // what clients of OpenAI's API are configured with
  if (address_.ends_with(kVersion)) address_.resize(address_.size() - kVersion.size());
  const bool http = address_.starts_with("http://") && address_.size() > 7;
  const bool https = address_.starts_with("https://") && address_.size() > 8;
  if (!http && !https) {
    throw InputError(
        fmt::format("an engine's address must be http://HOST:PORT or https://HOST:PORT: \"{}\"", address_));
  }
  if (options_.key.find_first_of("\r\n") != std::string::npos) {
    throw InputError("an engine's key must be one line: it has a line break");
  }
  connection_->add_header("Content-Type: application/json");
  connection_->add_header("Expect:");  // else libcurl waits a second before it sends a long body
  if (!options_.key.empty()) connection_->add_header("Authorization: Bearer " + options_.key);
}

CurlClient::~CurlClient() = default;

HttpAnswer CurlClient::get(const std::string& path) { return send(path, nullptr); }

HttpAnswer CurlClient::post(const std::string& path, const std::string& json) { return send(path, &json); }

HttpAnswer CurlClient::send(const std::string& path, const std::string* json) {
  HttpAnswer answer;
  answer.place = fmt::format("{} {}{}", json == nullptr ? "GET" : "POST", address_, path);
  Body body{.text = {}, .most_bytes = options_.most_bytes};
  std::array<char, CURL_ERROR_SIZE> reason{};
  CURL* const curl = connection_->curl;
  curl_easy_reset(curl);  // the options; connections to the server stay open
  curl_easy_setopt(curl, CURLOPT_URL, (address_ + path).c_str());
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, kConnectSeconds);
  curl_easy_setopt(curl, CURLOPT_TIMEOUT, static_cast<long>(options_.timeout.count()));
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, connection_->headers);
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, reason.data());
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, &append);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &body);
  if (json != nullptr) {
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(json->size()));
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, json->c_str());
  }
  const CURLcode code = curl_easy_perform(curl);
  if (body.too_large) {
    throw InputError(fmt::format("an engine's answer must have at most {}: it has more ({})",
                                 size_text(static_cast<std::int64_t>(options_.most_bytes)), answer.place));
  }
  if (code != CURLE_OK) {
    throw InputError(fmt::format("an engine must answer: {} ({})",
                                 reason.front() == '\0' ? curl_easy_strerror(code) : reason.data(), answer.place));
  }
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &answer.status);
  answer.body = std::move(body.text);
  return answer;
}

}  // namespace longrope
