#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "launch/train/resume/same_run.h"
#include "launch/train/run_session.h"
#include "trainer/checkpoint/checkpointer.h"
#include "trainer/checkpoint/training_state.h"
#include "trainer/data/order/stream_hash.h"
#include "trainer/loop/figures_exchange.h"
#include "trainer/loop/records/run_accounts.h"

namespace wattle {

/// Where a run goes on.
struct ResumePoint {
  std::optional<std::filesystem::path> checkpoint;
  int64_t step = 0;
  int64_t attempt = 1;
  StreamHash consumed;           ///< over all ranks
  EarlierEnergy earlier_energy;  ///< known to rank 0 alone
  std::map<std::string, std::string> sections;
  std::vector<std::string> warnings;
};

/// Rank 0 tidies the folder and finds the newest whole checkpoint, the others learn of it. Throws
/// Error(kConfig) if run.resume is never and there is one, or if the checkpoint is of another run:
/// seed, global batch or something of `identity` differ. Collective.
ResumePoint find_resume_point(const RunSession& session, const RunIdentity& identity,
                              Checkpointer& checkpointer, FiguresExchange& exchange);

/// Reads the checkpoint into the state, on every rank; does nothing without one.
void restore(const ResumePoint& resume, TrainingState& state);

}  // namespace wattle
