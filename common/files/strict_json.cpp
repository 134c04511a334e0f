#include "common/files/strict_json.h"

#include "common/error.h"

#include <fmt/format.h>

#include <set>
#include <string>
#include <utility>
#include <vector>

namespace longrope {

nlohmann::json parse_strict_json(std::string_view text, std::string_view place, std::size_t max_depth) {
  using Event = nlohmann::json::parse_event_t;
  std::size_t depth = 0;
  std::vector<std::set<std::string>> keys_of_open_objects;
  const auto check = [&](int, Event event, nlohmann::json& parsed) {
    switch (event) {
      case Event::object_start:
      case Event::array_start:
        if (++depth > max_depth) {
          throw InputError(fmt::format("JSON must not nest deeper than {} levels ({})", max_depth, place));
        }
        if (event == Event::object_start) keys_of_open_objects.emplace_back();
        break;
      case Event::object_end:
        keys_of_open_objects.pop_back();
        --depth;
        break;
      case Event::array_end:
        --depth;
        break;
      case Event::key:
        if (!keys_of_open_objects.back().insert(parsed.get<std::string>()).second) {
          throw InputError(
              fmt::format("JSON key must appear once in an object: \"{}\" ({})", parsed.get<std::string>(), place));
        }
        break;
      case Event::value:
        break;
    }
    return true;
  };
  try {
    return nlohmann::json::parse(text, check);
  } catch (const nlohmann::json::exception& error) {
    throw InputError(fmt::format("JSON must be well-formed: {} ({})", error.what(), place));
  }
}

}  // namespace longrope
