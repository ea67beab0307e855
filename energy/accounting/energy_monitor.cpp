#include "energy/accounting/energy_monitor.h"

#include <algorithm>
#include <chrono>
#include <numeric>

#include "common/error.h"
#include "common/host_name.h"
#include "energy/accounting/sample_schedule.h"

namespace wattle {
namespace {

/// Power samples this many intervals apart (and at least a second) leave a gap.
constexpr double kLongestIntervals = 10;

/// Counters lose nothing between two readings: they are read this many times less often.
constexpr double kCounterIntervals = 5;

double longest_interval(const EnergyOptions& options) {
  return std::max(1.0, kLongestIntervals * options.sample_interval_seconds);
}

}  // namespace

PhaseWindow::PhaseWindow(EnergyMonitor& monitor, Phase phase)
    : monitor_(monitor), outer_(monitor.enter(phase)) {}

PhaseWindow::~PhaseWindow() { monitor_.leave(outer_); }

EnergyMonitor::EnergyMonitor(const EnergyOptions& options, Clock& clock)
    : EnergyMonitor(find_meters(options, MeterEnvironment::of_this_process(), clock), options,
                    clock, Sampling::kThread) {}

EnergyMonitor::EnergyMonitor(FoundMeters found, const EnergyOptions& options, Clock& clock,
                             Sampling sampling)
    : clock_(clock),
      sample_interval_seconds_(options.sample_interval_seconds),
      host_(options.host.empty() ? host_name() : options.host),
      notes_(std::move(found.notes)) {
  for (auto& meter : found.meters) {
    auto& group = meter->info().is_cheap ? cheap_ : costly_;
    Integrator integrator(meter->info(), longest_interval(options));
    group.push_back({std::move(meter), std::move(integrator)});
  }
  const auto is_power = [](const Metered& metered) {
    return metered.meter->info().reading == Reading::kWatts;
  };
  if (std::ranges::none_of(costly_, is_power)) sample_interval_seconds_ *= kCounterIntervals;
  phase_since_seconds_ = clock_.now_seconds();
  sample();
  if (sampling == Sampling::kThread) thread_ = std::thread([this] { run_thread(); });
}

EnergyMonitor::~EnergyMonitor() {
  {
    const std::lock_guard lock(mutex_);
    is_stopping_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

Phase EnergyMonitor::enter(Phase phase) {
  const std::lock_guard lock(mutex_);
  const Phase outer = phase_;
  switch_to(outer == Phase::kEvaluation ? outer : phase);
  return outer;
}

void EnergyMonitor::leave(Phase outer) {
  const std::lock_guard lock(mutex_);
  switch_to(outer);
}

void EnergyMonitor::switch_to(Phase phase) {
  if (phase == phase_) return;
  book_cheap();
  count_phase_time(clock_.now_seconds());
  phase_ = phase;
}

void EnergyMonitor::set_layer_shares(Phase phase, std::vector<LayerShare> shares) {
  const std::lock_guard lock(mutex_);
  ledger_.set_layer_shares(phase, std::move(shares));
}

double EnergyMonitor::joules_now() {
  const std::lock_guard lock(mutex_);
  book_cheap();
  returned_joules_ = std::max(returned_joules_, joules_at(clock_.now_seconds()));
  return returned_joules_;
}

MeterGaps EnergyMonitor::gaps() {
  const std::lock_guard lock(mutex_);
  MeterGaps gaps;
  for (const auto* group : {&cheap_, &costly_}) {
    for (const Metered& metered : *group) {
      const DeviceTotal& total = metered.integrator.total();
      gaps.seconds += total.gap_seconds;
      gaps.open_seconds = std::max(gaps.open_seconds, metered.integrator.open_gap_seconds());
      if (total.gaps == 0) continue;
      const std::string name = total.last_gap.starts_with(total.device) ? "" : total.device + ": ";
      gaps.why += (gaps.why.empty() ? "" : "; ") + name + total.last_gap;
    }
  }
  return gaps;
}

void EnergyMonitor::sample() {
  const std::lock_guard reading(reading_mutex_);
  std::vector<Outcome> outcomes;
  for (Metered& metered : costly_) outcomes.push_back(read(*metered.meter));
  const std::lock_guard lock(mutex_);
  const double now = clock_.now_seconds();
  book_cheap();
  count_phase_time(now);
  book_costly(outcomes);
}

EnergyLedger EnergyMonitor::ledger() {
  sample();
  const std::lock_guard lock(mutex_);
  EnergyLedger ledger = ledger_;
  std::vector<DeviceTotal> totals;
  for (const auto* group : {&cheap_, &costly_}) {
    for (const Metered& metered : *group) totals.push_back(metered.integrator.total());
  }
  ledger.set_devices(std::move(totals));
  return ledger;
}

void EnergyMonitor::keep_only(const std::vector<std::string>& devices) {
  const std::lock_guard reading(reading_mutex_);
  const std::lock_guard lock(mutex_);
  const auto is_foreign = [&](const Metered& metered) {
    return std::ranges::find(devices, metered.meter->info().device) == devices.end();
  };
  std::erase_if(cheap_, is_foreign);
  std::erase_if(costly_, is_foreign);
  start_again();
}

/// Books what the devices that are left used since construction, all of it before any phase.
void EnergyMonitor::start_again() {
  const Account before = ledger_.run();
  ledger_ = EnergyLedger();
  ledger_.book_seconds(Phase::kOther, before.seconds);
  for (const auto* group : {&cheap_, &costly_}) {
    for (const Metered& metered : *group) {
      ledger_.book(Phase::kOther, metered.meter->info().source, metered.integrator.total().joules);
    }
  }
  returned_joules_ = 0;
}

std::vector<std::string> EnergyMonitor::devices() {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> names;
  for (const auto* group : {&cheap_, &costly_}) {
    for (const Metered& metered : *group) names.push_back(metered.meter->info().device);
  }
  return names;
}

double EnergyMonitor::idle_watts() {
  const std::lock_guard lock(mutex_);
  double watts = 0;
  for (const auto* group : {&cheap_, &costly_}) {
    for (const Metered& metered : *group) watts += metered.meter->info().idle_watts.value_or(0);
  }
  return watts;
}

double EnergyMonitor::busy_watts() {
  const std::lock_guard lock(mutex_);
  double watts = 0;
  for (const auto* group : {&cheap_, &costly_}) {
    for (const Metered& metered : *group) watts += metered.meter->info().busy_watts.value_or(0);
  }
  return watts;
}

double EnergyMonitor::joules_of(std::string_view prefix) {
  const std::lock_guard lock(mutex_);
  const double now = clock_.now_seconds();
  double joules = 0;
  for (const auto* group : {&cheap_, &costly_}) {
    for (const Metered& metered : *group) {
      if (metered.meter->info().device.starts_with(prefix)) {
        joules += metered.integrator.joules_at(now);
      }
    }
  }
  return joules;
}

std::string EnergyMonitor::source_label() {
  const std::lock_guard lock(mutex_);
  JoulesBySource known;
  for (const auto* group : {&cheap_, &costly_}) {
    for (const Metered& metered : *group) {
      const DeviceTotal& total = metered.integrator.total();
      known[total.known_source()] += total.joules;
    }
  }
  return known.label();
}

EnergyMonitor::Outcome EnergyMonitor::read(Meter& meter) {
  Outcome outcome;
  try {
    outcome.reading = meter.read();
  } catch (const Error& e) {
    outcome.error = e.what();
  }
  outcome.seconds = clock_.now_seconds();
  return outcome;
}

double EnergyMonitor::book(Metered& metered, const Outcome& outcome) {
  if (outcome.error.empty()) return metered.integrator.add(outcome.seconds, outcome.reading);
  metered.integrator.fail(outcome.seconds, outcome.error);
  return 0;
}

void EnergyMonitor::book_cheap() {
  for (Metered& metered : cheap_) {
    const double joules = book(metered, read(*metered.meter));
    if (joules > 0) ledger_.book(phase_, metered.meter->info().source, joules);
  }
}

/// Divides the joules since the last reading by the time that each phase had since then.
void EnergyMonitor::book_costly(const std::vector<Outcome>& outcomes) {
  const double seconds =
      std::accumulate(seconds_since_costly_.begin(), seconds_since_costly_.end(), 0.0);
  for (size_t i = 0; i < outcomes.size(); ++i) {
    const double joules = book(costly_[i], outcomes[i]);
    if (joules <= 0) continue;
    const Source source = costly_[i].meter->info().source;
    if (seconds <= 0) {
      ledger_.book(phase_, source, joules);
      continue;
    }
    for (size_t p = 0; p < kPhaseCount; ++p) {
      if (seconds_since_costly_[p] <= 0) continue;
      ledger_.book(static_cast<Phase>(p), source, joules * seconds_since_costly_[p] / seconds);
    }
  }
  seconds_since_costly_.fill(0);
}

void EnergyMonitor::count_phase_time(double now) {
  const double seconds = std::max(0.0, now - phase_since_seconds_);
  phase_since_seconds_ = now;
  seconds_since_costly_[static_cast<size_t>(phase_)] += seconds;
  ledger_.book_seconds(phase_, seconds);
}

double EnergyMonitor::joules_at(double seconds) const {
  double joules = 0;
  for (const Metered& metered : cheap_) joules += metered.integrator.total().joules;
  for (const Metered& metered : costly_) joules += metered.integrator.joules_at(seconds);
  return joules;
}

void EnergyMonitor::run_thread() {
  SampleSchedule schedule(sample_interval_seconds_);
  std::unique_lock lock(mutex_);
  while (!is_stopping_) {
    const std::chrono::duration<double> wait(schedule.next_wait_seconds());
    wake_.wait_for(lock, wait, [this] { return is_stopping_; });
    if (is_stopping_) return;
    lock.unlock();
    sample();
    lock.lock();
  }
}

}  // namespace wattle
