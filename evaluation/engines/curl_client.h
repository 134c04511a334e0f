#pragma once

#include "evaluation/engines/http_client.h"

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>

namespace longrope {

struct CurlOptions {
  /// Default: empty. Sent as "Authorization: Bearer KEY", where an engine asks for a key.
  std::string key = {};
  /// Default: ten minutes. The longest that one answer may take; a server that takes longer is given up.
  std::chrono::seconds timeout = std::chrono::minutes(10);
  /// Default: 256 MiB. An answer that is larger is refused while it arrives: 131,072 tokens with two log-probabilities
  /// each take about 20 MiB.
  std::size_t most_bytes = std::size_t{256} << 20;
};

/// HTTP and HTTPS by libcurl. Follows no redirections. Not thread-safe.
class CurlClient final : public HttpClient {
 public:
  /// A /v1 at the end of `address` is left out: requests have it in their paths. Throws InputError for an address that
  /// is not http://HOST… or https://HOST….
  CurlClient(std::string address, CurlOptions options);
  ~CurlClient() override;
  CurlClient(const CurlClient&) = delete;
  CurlClient& operator=(const CurlClient&) = delete;

  [[nodiscard]] HttpAnswer get(const std::string& path) override;
  [[nodiscard]] HttpAnswer post(const std::string& path, const std::string& json) override;

 private:
  struct Connection;
  [[nodiscard]] HttpAnswer send(const std::string& path, const std::string* json);

  std::string address_;  // without /v1 and slashes at its end
  CurlOptions options_;
  std::unique_ptr<Connection> connection_;
};

}  // namespace longrope
