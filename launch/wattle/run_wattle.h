#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace wattle {

/// Adds every sub-command; parsing runs one and leaves its exit code in `exit_code`.
void add_all_commands(CLI::App& wattle, int& exit_code);

/// The whole program: the words of the command line, the program's name first. Errors are printed
/// on standard error. Returns the exit code: 0 done, 1 refused or failed, 2 wrong usage or
/// configuration; `wattle energy` passes its command's on.
int run_wattle(std::vector<std::string> words);

}  // namespace wattle
