#include "launch/wattle/completion/completion.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <set>
#include <sstream>

namespace wattle {
namespace {

constexpr const char* kFile = "<file>";

// compopt lets readline add the file names itself: spaces and folders then come out right.
constexpr const char* kBash = R"(_wattle() {
  local word words=() line
  words=("${COMP_WORDS[@]:0:COMP_CWORD+1}")
  COMPREPLY=()
  while IFS= read -r line; do
    if [ "$line" = "<file>" ]; then
      compopt -o default
    else
      COMPREPLY+=("$line")
    fi
  done < <("${COMP_WORDS[0]}" completion words -- "${words[@]}" 2>/dev/null)
}
complete -F _wattle wattle
)";

constexpr const char* kZsh = R"(#compdef wattle
_wattle() {
  local -a found
  found=("${(@f)$("${words[1]}" completion words -- "${(@)words[1,CURRENT]}" 2>/dev/null)}")
  if (( ${found[(Ie)<file>]} )); then
    _files
  fi
  found=("${(@)found:#<file>}")
  [[ -n "$found" ]] && compadd -a found
}
compdef _wattle wattle
)";

/// The options by name that may stand here: the command's, and its parents' where they fall
/// through.
const CLI::Option* find_option(const CLI::App* command, const std::string& word) {
  for (const CLI::App* app = command; app;
       app = app->get_fallthrough() ? app->get_parent() : nullptr) {
    if (const CLI::Option* option = app->get_option_no_throw(word)) return option;
  }
  return nullptr;
}

bool is_flag(const CLI::Option* option) { return option->get_expected_max() == 0; }

/// The members of "{a,b,c}", as a check against a set describes itself; nothing for other options.
std::vector<std::string> closed_set(const CLI::Option* option) {
  const std::string type = option->get_type_name();
  const size_t open = type.find('{'), close = type.rfind('}');
  if (open == std::string::npos || close == std::string::npos || close < open) return {};
  std::vector<std::string> values;
  std::istringstream list(type.substr(open + 1, close - open - 1));
  for (std::string value; std::getline(list, value, ',');) values.push_back(value);
  return values;
}

std::vector<std::string> values_of(const CLI::Option* option) {
  const auto values = closed_set(option);
  static const std::set<std::string> kFiles = {"file",  "--ca",     "--cert",  "--key",
                                               "--dir", "--config", "--input", "--trace"};
  if (values.empty() && kFiles.contains(option->get_name())) return {kFile};
  return values;
}

const CLI::App* subcommand(const CLI::App* command, const std::string& name) {
  const auto found =
      command->get_subcommands([&](const CLI::App* inner) { return inner->get_name() == name; });
  return found.empty() ? nullptr : found[0];
}

/// Where a command line stands: the innermost sub-command, an option that waits for its value, and
/// how many positional words there were.
struct Place {
  const CLI::App* command;
  const CLI::Option* pending = nullptr;
  size_t positionals = 0;
  bool is_over = false;  ///< behind "--": another program's words
};

Place place_of(const CLI::App& wattle, const std::vector<std::string>& words) {
  Place place{&wattle};
  for (size_t i = 1; i + 1 < words.size(); ++i) {
    const std::string& word = words[i];
    if (word == "=") continue;  // bash makes --by=day three words
    if (place.pending) {
      place.pending = nullptr;
    } else if (word == "--") {
      place.is_over = true;
      return place;
    } else if (word.starts_with('-')) {
      const CLI::Option* option = find_option(place.command, word);
      if (option && !is_flag(option)) place.pending = option;
    } else if (const CLI::App* inner = subcommand(place.command, word)) {
      place = {inner};
    } else {
      ++place.positionals;
    }
  }
  return place;
}

std::vector<std::string> candidates_at(const Place& place, bool options) {
  if (place.is_over) return {kFile};
  if (place.pending) return values_of(place.pending);
  std::vector<std::string> words;
  size_t positional = 0;
  for (const CLI::App* app = place.command; app;
       app = app->get_fallthrough() ? app->get_parent() : nullptr) {
    for (const CLI::Option* option : app->get_options()) {
      if (option->get_group().empty()) continue;
      if (option->get_positional()) {
        if (app != place.command) continue;
        const bool takes_more = option->get_items_expected_max() > 1;
        if (positional++ != place.positionals && !takes_more) continue;
        for (const std::string& value : values_of(option)) words.push_back(value);
      } else if (options) {
        for (const std::string& name : option->get_lnames()) words.push_back("--" + name);
        for (const std::string& name : option->get_snames()) words.push_back("-" + name);
      }
    }
  }
  const auto inner =
      place.command->get_subcommands([](const CLI::App* app) { return !app->get_group().empty(); });
  for (const CLI::App* app : inner) words.push_back(app->get_name());
  return words;
}

}  // namespace

std::vector<std::string> completions(const CLI::App& wattle,
                                     const std::vector<std::string>& words) {
  const std::string last = words.empty() || words.back() == "=" ? "" : words.back();
  const Place place = place_of(wattle, words);
  std::vector<std::string> found = candidates_at(place, last.starts_with('-'));
  std::erase_if(found, [&](const std::string& w) { return w != kFile && !w.starts_with(last); });
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  return found;
}

void add_completion_command(CLI::App& wattle) {
  CLI::App* command = wattle.add_subcommand(
      "completion", "completion for a shell: source <(wattle completion bash)");
  command->require_subcommand(1);
  command->add_subcommand("bash", "for bash")->callback([] { fmt::print("{}", kBash); });
  command->add_subcommand("zsh", "for zsh")->callback([] { fmt::print("{}", kZsh); });
  CLI::App* ask = command->add_subcommand("words", "what may stand next; the shell asks");
  ask->group("");
  const auto words = std::make_shared<std::vector<std::string>>();
  ask->add_option("word", *words);
  ask->callback([words, &wattle] {
    for (const std::string& word : completions(wattle, *words)) fmt::print("{}\n", word);
  });
}

}  // namespace wattle
