#pragma once

namespace CLI {
class App;
}

namespace wattle {

/// The commands that talk to the daemon. Each adds its sub-commands; parsing runs them and leaves
/// the exit code in `exit_code`, where it is not 0. They throw what client/client.h throws.

/// submit: plans a file with wattle-train, sends its inputs and hands it in.
void add_submit_command(CLI::App& wattle, int& exit_code);
/// queue, show, explain.
void add_queue_commands(CLI::App& wattle);
/// cancel, logs.
void add_job_commands(CLI::App& wattle, int& exit_code);
/// nodes, drain, undrain, remove.
void add_node_commands(CLI::App& wattle);
/// cap set, cap show; budget set, budget show.
void add_limit_commands(CLI::App& wattle);
/// report.
void add_report_command(CLI::App& wattle);

}  // namespace wattle
