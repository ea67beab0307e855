#pragma once

#include "launch/train/run_session.h"

namespace wattle {

// The sub-commands of wattle-train. Each returns an exit code; all are collective.

/// Trains, evaluates, exports, reports.
int train_command(const RunSession& session);

/// Evaluates model.init_from if given, else the newest checkpoint in output_dir.
int eval_command(const RunSession& session);

/// Writes the exports of the same model as eval_command's.
int export_command(const RunSession& session);

/// Says what a run with so many ranks would be and need; trains nothing. One rank.
int plan_command(const RunConfig& config, int ranks, bool json);

}  // namespace wattle
