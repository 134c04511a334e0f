#include "cli/command.h"

#include <iostream>
#include <memory>
#include <string>

namespace longrope {
namespace {

// The options of a command are read from its own --help, once in a shell: they cannot differ from what it takes, and
// those of commands that need Torch come from the program that has them. Words after an option are file names.
constexpr const char* kBash = R"shell(# Completion of longrope for bash: eval "$(longrope completion bash)"
declare -gA _longrope_words
_longrope_words_of() {  # [COMMAND [COMMAND]]: what may follow, into _longrope_found
  if [[ -z ${_longrope_words["/$*"]+set} ]]; then
    _longrope_words["/$*"]=$("$_longrope_program" "$@" --help 2>/dev/null | awk '
      /^Subcommands:/ { commands = 1; next }
      /^[^ ]/ { commands = 0 }
      commands && /^  [a-z]/ { print $1 }
      /^  +-/ { count = split($1, names, ","); for (i = 1; i <= count; i++) if (names[i] ~ /^--/) print names[i] }')
  fi
  _longrope_found=${_longrope_words["/$*"]}
}
_longrope() {
  local word=${COMP_WORDS[COMP_CWORD]} commands=()
  _longrope_program=${COMP_WORDS[0]}
  ((COMP_CWORD > 1)) && commands=("${COMP_WORDS[1]}")
  [[ ${COMP_WORDS[1]} == stage ]] && ((COMP_CWORD > 2)) && commands+=("${COMP_WORDS[2]}")
  COMPREPLY=()
  if [[ $word == -* ]] || ((COMP_CWORD == 1)) || [[ ${commands[*]} == stage ]]; then
    _longrope_words_of "${commands[@]}"
    COMPREPLY=($(compgen -W "$_longrope_found" -- "$word"))
  elif [[ ${commands[*]} == completion ]]; then
    COMPREPLY=($(compgen -W "bash zsh" -- "$word"))
  fi
}
complete -o default -F _longrope longrope
)shell";

// zsh runs functions that complete for bash.
constexpr const char* kZsh = R"shell(# Completion of longrope for zsh: eval "$(longrope completion zsh)"
autoload -Uz compinit bashcompinit
(( $+functions[compdef] )) || compinit
bashcompinit
)shell";

}  // namespace

void add_completion_command(CLI::App& app) {
  auto* command =
      app.add_subcommand("completion", "Print the script by which your shell completes commands and options");
  auto shell = std::make_shared<std::string>();
  command->add_option("SHELL", *shell, "bash or zsh")->required()->check(CLI::IsMember({"bash", "zsh"}));
  command->footer("Example, for the file ~/.bashrc:\n  eval \"$(longrope completion bash)\"");
  command->callback([=] { std::cout << (*shell == "zsh" ? std::string(kZsh) + kBash : std::string(kBash)); });
}

}  // namespace longrope
