#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace wattle {

/// Adds `wattle completion bash|zsh`, which prints a script for the shell to read:
///
///   source <(wattle completion bash)
///
/// The script asks `wattle completion words -- WORD...` at every tab, so it never grows old; the
/// answer comes from the commands themselves.
void add_completion_command(CLI::App& wattle);

/// What may stand in the place of the last of `words` (which may be empty): sub-commands, options
/// and the values of options that have a closed set. "<file>" stands for the name of any file.
/// Sorted; only what begins with the last word. The first word is the program's name.
std::vector<std::string> completions(const CLI::App& wattle, const std::vector<std::string>& words);

}  // namespace wattle
