#pragma once

#include <string>

namespace longrope {

struct HttpAnswer {
  long status = 0;    // 200: done
  std::string body;   // as it arrived: nothing of it has been checked
  std::string place;  // "POST http://127.0.0.1:8080/completion", for messages
};

/// Sends requests to one server and waits for each answer. CurlClient in the program, a fake in tests.
/// `path` begins with a slash. An answer of any status is returned; what brings none throws InputError.
class HttpClient {
 public:
  virtual ~HttpClient() = default;
  [[nodiscard]] virtual HttpAnswer get(const std::string& path) = 0;
  [[nodiscard]] virtual HttpAnswer post(const std::string& path, const std::string& json) = 0;
};

}  // namespace longrope
