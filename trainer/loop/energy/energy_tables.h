#pragma once

#include <nlohmann/json_fwd.hpp>

#include "energy/accounting/energy_ledger.h"

namespace wattle {

/// A ledger for report.json. "run" is all phases, "training" all but evaluation, "inference" the
/// evaluations and samples; "total_joules" is the run and "lost_steps_joules" (of earlier attempts,
/// after the checkpoint that was gone on from). Each account has joules (null where nothing is
/// known), joules_by_source and rank_seconds: of ranks at the same time, each counts.
nlohmann::ordered_json ledger_json(const EnergyLedger& ledger, double lost_joules);

/// The same as tables for people: phases, kinds of layers, and devices with their gaps.
nlohmann::ordered_json energy_tables(const EnergyLedger& ledger, double lost_joules);

}  // namespace wattle
