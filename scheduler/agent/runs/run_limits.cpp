#include <algorithm>
#include <limits>
#include <utility>

#include "common/error.h"
#include "scheduler/agent/power/fall_back.h"
#include "scheduler/agent/runs/run.h"

/// What a run may use: watts, and joules.
namespace wattle::agent {
namespace {

/// An agent that lives comes before the keeper.
constexpr double kKeeperWaitsSeconds = 1;

}  // namespace

double Run::limit_watts(bool is_cut_off) const {
  return is_cut_off ? std::min(record_.limit_watts, devices_.front().safe_watts)
                    : record_.limit_watts;
}

/// A raise has to be on disk before it is in force, or an agent that is started again would report
/// less than what is drawn; a lowering may be reported too high for a while.
bool Run::set_limit(double watts, int64_t sequence) {
  if (sequence <= record_.sequence) return true;
  const double watts_before = std::exchange(record_.limit_watts, watts);
  const int64_t sequence_before = std::exchange(record_.sequence, sequence);
  try {
    if (remember() || watts <= watts_before) {
      if (command_.was_started()) apply_limit();
      metrics_.mark();
      return true;
    }
  } catch (const Error& e) {
    parts_.say(e.what());
  }
  record_.limit_watts = watts_before;
  record_.sequence = sequence_before;
  return false;
}

void Run::apply_limit() {
  for (const NodeDevice& device : devices_) {
    if (device.is_gpu()) set_gpu_limit(device.gpu_uuid, record_.limit_watts);
  }
  if (is_on_processors() && is_first()) {
    write_cap(files_.control_file(), record_.limit_watts * record_.launch.ranks(), account_);
  }
}

std::string Run::joules_file() const { return folder_ + "/joules"; }

/// Tells the keeper when the leased joules are used at the present limit, in case there is no agent
/// any more that counts them.
void Run::renew_joules() {
  if (!joules_) joules_ = std::make_unique<LeaseFile>(joules_file(), LeaseFile::Access::kWrite);
  double until = std::numeric_limits<double>::infinity();
  if (record_.leased_joules && !is_stopping()) {
    const double left = std::max(0.0, *record_.leased_joules - energy_.joules());
    const double watts = record_.limit_watts * static_cast<double>(devices_.size());
    until = boot_seconds() + left / watts + kKeeperWaitsSeconds;
  }
  joules_->renew({until, until});
}

/// A full disk is no reason to end a run whose joules the agent counts.
void Run::tell_keeper_of_joules() {
  try {
    renew_joules();
  } catch (const Error& e) {
    if (std::exchange(joules_fault_, e.what()) != e.what()) parts_.say(e.what());
  }
}

}  // namespace wattle::agent
