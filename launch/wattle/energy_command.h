#pragma once

namespace CLI {
class App;
}

namespace wattle {

/// Adds `wattle energy [options] -- COMMAND`, which runs any command and tells what it used:
/// seconds, joules, average watts, and how they are known. The command's own exit code is passed
/// on (127: not found, 126: can't be run, 128 + N: ended by signal N). Energy of GPUs and packages
/// is the whole device's; with the model, the processor time is that of the command and all it
/// started. With --restore it gives GPUs back the power limits that ended programs left changed.
///
/// Parsing runs nothing; the command's exit code stands in `exit_code` after it.
void add_energy_command(CLI::App& wattle, int& exit_code);

}  // namespace wattle
