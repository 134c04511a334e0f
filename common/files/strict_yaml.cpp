#include "common/files/strict_yaml.h"

#include "common/error.h"

#include <fmt/format.h>
#include <yaml.h>

#include <array>
#include <cstddef>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace longrope {
namespace {

constexpr std::size_t kMaxDepth = 16;

struct Event {
  Event() = default;
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  ~Event() { yaml_event_delete(&raw); }

  yaml_event_t raw{};
};

class Parser {
 public:
  Parser(std::string_view text, const std::string& place) : place_(place) {
    if (yaml_parser_initialize(&parser_) == 0) throw std::bad_alloc();
    yaml_parser_set_encoding(&parser_, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser_, reinterpret_cast<const unsigned char*>(text.data()), text.size());
  }
  Parser(const Parser&) = delete;
  Parser& operator=(const Parser&) = delete;
  ~Parser() { yaml_parser_delete(&parser_); }

  void next(Event& event) {
    if (yaml_parser_parse(&parser_, &event.raw) != 0) return;
    if (parser_.error == YAML_MEMORY_ERROR) throw std::bad_alloc();
    const std::string rule = fmt::format("YAML must be well-formed: {}", parser_.problem);
    // Bytes that are not UTF-8 are found before lines are counted.
    if (parser_.error == YAML_READER_ERROR) {
      throw InputError(fmt::format("{} (byte {} of {})", rule, parser_.problem_offset, place_));
    }
    refuse(rule, parser_.problem_mark);
  }

  [[noreturn]] void refuse(std::string_view rule, const yaml_mark_t& mark) const {
    throw InputError(fmt::format("{} (line {}, column {} of {})", rule, mark.line + 1, mark.column + 1, place_));
  }

 private:
  const std::string& place_;
  yaml_parser_t parser_{};
};

/// Bytes of the first line with its line break, by libyaml's idea of line breaks.
std::size_t first_line_bytes(std::string_view text) {
  // "\r\n" comes before "\r", which would match its beginning.
  constexpr std::array<std::string_view, 6> kBreaks = {"\r\n", "\r", "\n", "\u0085", "\u2028", "\u2029"};
  for (std::size_t i = 0; i < text.size(); ++i) {
    for (const std::string_view line_break : kBreaks) {
      if (text.substr(i).starts_with(line_break)) return i + line_break.size();
    }
  }
  return text.size();
}

/// libyaml compares each %TAG with all before it, so that many of them take quadratic time before it reports any.
void refuse_directives(std::string_view text, const std::string& place) {
  for (std::size_t line = 1; !text.empty(); ++line) {
    if (text.front() == '%') {
      throw InputError(fmt::format("YAML must have no directives (line {} of {})", line, place));
    }
    text.remove_prefix(first_line_bytes(text));
  }
}

nlohmann::json scalar_value(std::string text, bool is_plain) {
  if (!is_plain) return text;
  if (text.empty() || text == "~") return nullptr;
  nlohmann::json value = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  return value.is_primitive() && !value.is_discarded() ? value : nlohmann::json(std::move(text));
}

/// The JSON of the events so far.
class Document {
 public:
  explicit Document(const Parser& parser) : parser_(parser) {}

  void begin(const yaml_event_t& event) const {
    if (value_) parser_.refuse("YAML must be one document", event.start_mark);
  }

  void scalar(const yaml_event_t& event) {
    const auto& scalar = event.data.scalar;
    refuse_tag(scalar.tag, event);
    std::string text(reinterpret_cast<const char*>(scalar.value), scalar.length);
    if (!is_key_next()) return add(scalar_value(std::move(text), scalar.style == YAML_PLAIN_SCALAR_STYLE));
    if (open_.back().value.contains(text)) {
      const std::string key = nlohmann::json(text).dump();
      parser_.refuse(fmt::format("YAML key must appear once in a mapping: {}", key), event.start_mark);
    }
    open_.back().key = std::move(text);
  }

  void open(nlohmann::json empty, const yaml_char_t* tag, const yaml_event_t& event) {
    refuse_tag(tag, event);
    if (is_key_next()) parser_.refuse("YAML key must be a scalar", event.start_mark);
    if (open_.size() == kMaxDepth) {
      parser_.refuse(fmt::format("YAML must not nest deeper than {} levels", kMaxDepth), event.start_mark);
    }
    open_.push_back({.value = std::move(empty), .key = std::nullopt});
  }

  void close() {
    nlohmann::json value = std::move(open_.back().value);
    open_.pop_back();
    add(std::move(value));
  }

  [[nodiscard]] nlohmann::json value() && { return std::move(value_).value_or(nullptr); }

 private:
  /// A sequence or mapping whose end has not been read.
  struct Collection {
    nlohmann::json value;
    std::optional<std::string> key;  // the mapping's next key, once it has been read
  };

  [[nodiscard]] bool is_key_next() const {
    return !open_.empty() && open_.back().value.is_object() && !open_.back().key;
  }

  void refuse_tag(const yaml_char_t* tag, const yaml_event_t& event) const {
    if (tag != nullptr) parser_.refuse("YAML must have no tags", event.start_mark);
  }

  void add(nlohmann::json value) {
    if (open_.empty()) {
      value_ = std::move(value);
    } else if (Collection& parent = open_.back(); parent.value.is_array()) {
      parent.value.push_back(std::move(value));
    } else {
      parent.value[*std::exchange(parent.key, std::nullopt)] = std::move(value);
    }
  }

  const Parser& parser_;
  std::vector<Collection> open_;  // innermost last
  std::optional<nlohmann::json> value_;
};

}  // namespace

nlohmann::json parse_strict_yaml(std::string_view text, const std::string& place) {
  refuse_directives(text, place);
  Parser parser(text, place);
  Document document(parser);
  while (true) {
    Event event;
    parser.next(event);
    switch (event.raw.type) {
      case YAML_DOCUMENT_START_EVENT:
        document.begin(event.raw);
        break;
      case YAML_SCALAR_EVENT:
        document.scalar(event.raw);
        break;
      case YAML_SEQUENCE_START_EVENT:
        document.open(nlohmann::json::array(), event.raw.data.sequence_start.tag, event.raw);
        break;
      case YAML_MAPPING_START_EVENT:
        document.open(nlohmann::json::object(), event.raw.data.mapping_start.tag, event.raw);
        break;
      case YAML_SEQUENCE_END_EVENT:
      case YAML_MAPPING_END_EVENT:
        document.close();
        break;
      case YAML_ALIAS_EVENT:
        parser.refuse("YAML must have no aliases", event.raw.start_mark);
      case YAML_STREAM_END_EVENT:
        return std::move(document).value();
      case YAML_NO_EVENT:
      case YAML_STREAM_START_EVENT:
      case YAML_DOCUMENT_END_EVENT:
        break;
    }
  }
}

}  // namespace longrope
