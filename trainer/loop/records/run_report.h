#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "common/run/metrics.h"
#include "energy/accounting/energy_ledger.h"

namespace wattle {

/// What a run's report is made of, besides its metrics.
struct RunFacts {
  std::string name;
  std::string ended;  ///< "done", "stopped", "budget spent"
  std::string model;  ///< family
  std::string loss_unit = "nats";
  int64_t parameters = 0;
  int64_t ranks = 1;
  std::string threads;  ///< of a rank, in words
  std::string processor;
  int64_t global_batch = 0;
  int64_t micro_batch = 0;
  int64_t steps = 0;                 ///< done
  double one_rank_step_seconds = 0;  ///< the whole global batch on one rank; 0: not measured
  int64_t one_rank_steps = 0;
  double matmul_rate = 0;   ///< all ranks, operations a second
  std::string stream_hash;  ///< of all samples consumed
  double wall_seconds = 0;  ///< of this attempt
  double lost_joules = 0;   ///< of earlier attempts after the checkpoints that were gone on from
  std::string energy_source;
  std::optional<std::string> sample;
};

/// The report of a run as common/report shows it, with the same figures under keys for programs:
/// "training", "energy", "parallel", "data", "machine". Throughput is the median over this
/// attempt's training steps but the first.
nlohmann::ordered_json make_report(const RunFacts& facts, const EnergyLedger& ledger,
                                   const std::vector<MetricsRecord>& records);

/// The name of this machine's processor, from /proc/cpuinfo.
std::string processor_name();

}  // namespace wattle
