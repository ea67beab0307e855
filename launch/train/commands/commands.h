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

/// What `wattle-train plan` was asked.
struct PlanRequest {
  std::string config;
  std::vector<std::string> overrides;
  std::optional<int> ranks;
  bool json = false;
};

/// Says what a run would be and need (docs/PLAN.md); trains nothing. One process, no ranks. With
/// `json` a configuration that can't run is an answer as well, before its Error is thrown.
int plan_command(const PlanRequest& request);

}  // namespace wattle
