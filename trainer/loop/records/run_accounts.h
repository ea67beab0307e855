#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "common/run/metrics.h"
#include "energy/accounting/energy_monitor.h"
#include "trainer/checkpoint/checkpointer.h"
#include "trainer/loop/figures_exchange.h"

namespace wattle {

/// What happened before this attempt, as far as energy goes.
struct EarlierEnergy {
  EnergyLedger ledger;         ///< of all ranks and attempts, up to the checkpoint
  double training_joules = 0;  ///< of the steps up to the checkpoint
  double run_joules = 0;       ///< of everything, as far as the metrics know it
};

/// What one rank tells all others after a step or between the batches of an evaluation.
struct RankWord {
  double order = 0;          ///< rank 0's counts, see EnergyGovernor
  double pause_seconds = 0;  ///< that it paused for a cap, and what its devices drew meanwhile
  double pause_joules = 0;
};

/// Figures since the last exchange, all ranks together and the same on every rank.
struct SharedFigures {
  double step_seconds = 0;                    ///< the slowest rank's
  std::optional<double> joules;               ///< nothing where a meter failed meanwhile
  double gpu_joules = 0;                      ///< the part of joules that GPUs drew
  int64_t peak_memory_bytes = 0;              ///< the largest rank's
  WriteState checkpoint = WriteState::kIdle;  ///< the least over the ranks
  double order = 0;                           ///< rank 0's, see EnergyGovernor
  double dead_seconds = 0;                    ///< how long a meter has not answered by now
  std::optional<double> pause_watts;          ///< of all ranks, where all have paused
};

/// Keeps the run's books of time and energy over all ranks: makes each device one rank's business,
/// takes the ranks' figures together after each step, and adds earlier attempts.
class RunAccounts {
 public:
  /// Collective; rank 0's `earlier` counts.
  RunAccounts(FiguresExchange& exchange, EnergyMonitor& energy, EarlierEnergy earlier);

  void begin_step();
  /// Collective, at the end of each step; `checkpoint` is how far this rank's writing is.
  SharedFigures end_step(WriteState checkpoint, const RankWord& word);

  /// Collective: books what was used since the last exchange to the run, between the batches of an
  /// evaluation.
  SharedFigures between(const RankWord& word);

  /// Collective: books what was used since the last step (evaluation, checkpoint) to the run, and
  /// returns it.
  double settle();

  /// Which meters failed since the last call, and why; "" if none did. Collective.
  std::string new_gaps();

  /// Training steps so far; all so far. Nothing if no device has a meter or a model.
  std::optional<double> training_joules() const;
  std::optional<double> run_joules() const;
  /// Label of all sources in use on any rank.
  const std::string& source() const { return source_; }
  bool is_estimated() const;

  /// Collective: this attempt's ledgers of all ranks, and the earlier attempts', added up.
  EnergyLedger ledger();
  /// Collective, at the end: as ledger(); run_joules() is from then on what it sums to, with
  /// lost_joules().
  EnergyLedger close();
  /// What earlier attempts used after the checkpoint that this one started from.
  double lost_joules() const { return lost_joules_; }

 private:
  void refresh_source();
  SharedFigures exchange(double seconds, WriteState checkpoint, const RankWord& word);
  double joules_since_last();

  FiguresExchange& exchange_;
  EnergyMonitor& energy_;
  EarlierEnergy earlier_;
  double lost_joules_ = 0;
  std::string source_;
  bool metered_ = false;
  double last_gpu_joules_ = 0;
  double last_gap_seconds_ = 0;
  std::string told_gaps_;
  double last_joules_ = 0;  ///< this rank's reading that was shared last
  double run_joules_ = 0;
  double training_joules_ = 0;
  std::chrono::steady_clock::time_point step_began_;
};

/// The largest resident set of this process so far.
int64_t peak_memory_bytes();

}  // namespace wattle
