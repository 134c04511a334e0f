#include "cli/command.h"
#include "common/error.h"
#include "common/suggestion.h"

#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace longrope {
namespace {

/// Throws Error unless everything that a command printed was written: on a full disk, half a result must not look like
/// success.
void require_printed() {
  errno = 0;
  std::cout.flush();
  const bool flushed = std::fflush(stdout) == 0;
  const int cause = errno;
  if (flushed && std::cout && std::ferror(stdout) == 0) return;
  // Where only an earlier write failed, its cause is gone by now.
  throw Error(fmt::format("cannot write to standard output: {}", cause == 0 ? "a write failed" : std::strerror(cause)));
}

/// Writes 8k as 8192 and 1M as 1048576. Everything else stays, to be taken or refused as a number.
std::string digits_of_tokens(std::string& text) {
  constexpr std::array<std::pair<std::string_view, std::int64_t>, 2> kUnits = {{{"kK", 1024}, {"mM", 1024 * 1024}}};
  constexpr std::int64_t kMost = std::int64_t{1} << 40;
  std::int64_t count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (error != std::errc() || end + 1 != text.data() + text.size()) return "";
  for (const auto& [letters, tokens] : kUnits) {
    if (letters.find(*end) == std::string_view::npos || count < 0 || count > kMost) continue;
    text = std::to_string(count * tokens);
    return "";
  }
  return "";
}

/// What the command line says that no command knows: a command, or an option.
std::optional<std::string> unknown_word(const CLI::App& app) {
  const CLI::App* command = &app;
  while (!command->get_subcommands().empty()) command = command->get_subcommands().front();
  const std::string owner = command == &app ? "" : " of " + command->get_name();
  std::vector<std::string> options;
  for (const CLI::Option* option : command->get_options()) {
    for (const std::string& name : option->get_lnames()) options.push_back("--" + name);
  }
  std::vector<std::string> commands;
  for (const CLI::App* subcommand : command->get_subcommands([](const CLI::App*) { return true; })) {
    commands.push_back(subcommand->get_name());
  }
  for (const std::string& word : command->remaining()) {
    const bool is_option = word.starts_with("--");
    if (!is_option && commands.empty()) continue;  // an argument too many
    const std::string name = word.substr(0, word.find('='));
    const std::vector<std::string>& known = is_option ? options : commands;
    return fmt::format("no such {}{}: {}{}", is_option ? "option" : "command", owner, name,
                       suggestion(name, std::vector<std::string_view>(known.begin(), known.end())));
  }
  return std::nullopt;
}

}  // namespace

void add_model(CLI::App& command, std::string& directory, const std::string& help) {
  command.add_option("--model,MODEL", directory, help)->required();
}

CLI::Option* in_tokens(CLI::Option* option) {
  return option->transform(CLI::Validator(digits_of_tokens, "", "tokens"))->type_name("TOKENS");
}

void add_search_database(CLI::App& command, std::string& database) {
  command.add_option("--db", database, "Database of a search or a pipeline, which may be running")->required();
}

void add_memory_budget(CLI::App& command, std::int64_t& bytes) {
  command
      .add_option(
          "--memory-budget", bytes,
          "Most memory for the weights and one document, as in 8GiB. Weights that would take half of it are read from "
          "their files as they are needed; a document that does not fit is refused [the memory that is free]")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/true))
      ->check(CLI::PositiveNumber);
}

int run_program(CLI::App& app, int argc, char** argv) {
  try {
    app.parse(argc, argv);
    require_printed();
    return kExitSuccess;
  } catch (const CLI::RuntimeError& end) {  // a command's own exit code
    return end.get_exit_code();
  } catch (const CLI::ParseError& error) {
    // Help and version also arrive here, with exit code 0.
    if (error.get_exit_code() != 0) {
      if (const auto message = unknown_word(app)) {
        std::cerr << "longrope: " << *message << "\nRun with --help for more information.\n";
        return kExitBadInput;
      }
    }
    return app.exit(error) == 0 ? kExitSuccess : kExitBadInput;
  } catch (const InputError& error) {
    std::cerr << "longrope: " << error.what() << '\n';
    return kExitBadInput;
  } catch (const std::exception& error) {
    std::cerr << "longrope: " << error.what() << '\n';
    return kExitFailure;
  }
}

}  // namespace longrope
