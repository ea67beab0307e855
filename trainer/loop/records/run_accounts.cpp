#include "trainer/loop/records/run_accounts.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include "common/error.h"
#include "energy/accounting/rank_readings.h"

namespace wattle {
int64_t peak_memory_bytes() {
  rusage usage{};
  if (getrusage(RUSAGE_SELF, &usage) != 0) {
    throw Error(ErrorCode::kInternal, "the resource usage of this process can't be read");
  }
  return usage.ru_maxrss * int64_t{1024};
}

RunAccounts::RunAccounts(FiguresExchange& exchange, EnergyMonitor& energy, EarlierEnergy earlier)
    : exchange_(exchange), energy_(energy) {
  const std::array<double, 2> sums = {earlier.training_joules, earlier.run_joules};
  const std::vector<double> first = exchange_.gather(sums).front();
  earlier_ = {EnergyLedger::parse(exchange_.gather_texts(earlier.ledger.serialize()).front()),
              first[0], first[1]};
  std::vector<RankDevices> ranks;
  const RankDevices mine{energy_.host(), energy_.devices()};
  for (const std::string& text : exchange_.gather_texts(serialize(mine))) {
    ranks.push_back(parse_rank_devices(text));
  }
  energy_.keep_only(assign_devices(ranks).at(exchange_.rank()));
  const double saved = earlier_.ledger.run().joules.total();
  run_joules_ = std::max(earlier_.run_joules, saved);
  lost_joules_ = run_joules_ - saved;
  training_joules_ = earlier_.training_joules;
  energy_.sample();
  refresh_source();
}

void RunAccounts::refresh_source() {
  std::set<std::string> labels;
  for (const std::string& text : exchange_.gather_texts(energy_.source_label())) {
    if (text != label_of(Source::kUnavailable)) labels.insert(text);
  }
  metered_ = !labels.empty();
  source_ = metered_ ? fmt::format("{}", fmt::join(labels, "+"))
                     : std::string(label_of(Source::kUnavailable));
}

bool RunAccounts::is_estimated() const { return source_.find("estimated") != std::string::npos; }

double RunAccounts::joules_since_last() {
  const double now = energy_.joules_now();
  return now - std::exchange(last_joules_, now);
}

void RunAccounts::begin_step() { step_began_ = std::chrono::steady_clock::now(); }

SharedFigures RunAccounts::end_step(WriteState checkpoint, const RankWord& word) {
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - step_began_;
  const double before = run_joules_;
  const SharedFigures shared = exchange(seconds.count(), checkpoint, word);
  training_joules_ += run_joules_ - before;
  return shared;
}

SharedFigures RunAccounts::between(const RankWord& word) {
  return exchange(0, WriteState::kIdle, word);
}

SharedFigures RunAccounts::exchange(double seconds, WriteState checkpoint, const RankWord& word) {
  const double gpu_joules = std::max(last_gpu_joules_, energy_.joules_of("gpu:"));
  const MeterGaps gaps = energy_.gaps();
  const std::array<double, 9> mine = {
      seconds,
      joules_since_last(),
      gpu_joules - std::exchange(last_gpu_joules_, gpu_joules),
      static_cast<double>(peak_memory_bytes()),
      static_cast<double>(checkpoint),
      word.order,
      gaps.seconds - std::exchange(last_gap_seconds_, gaps.seconds),
      gaps.open_seconds,
      word.pause_seconds > 0 ? word.pause_joules / word.pause_seconds : -1};
  SharedFigures shared;
  double joules = 0, gap_seconds = 0, pause_watts = 0;
  bool all_paused = true;
  const std::vector<std::vector<double>> rows = exchange_.gather(mine);
  shared.order = rows.front()[5];
  for (const std::vector<double>& row : rows) {
    shared.step_seconds = std::max(shared.step_seconds, row[0]);
    joules += row[1];
    shared.gpu_joules += row[2];
    shared.peak_memory_bytes = std::max(shared.peak_memory_bytes, static_cast<int64_t>(row[3]));
    shared.checkpoint =
        std::min(shared.checkpoint, static_cast<WriteState>(static_cast<int>(row[4])));
    gap_seconds += row[6];
    shared.dead_seconds = std::max(shared.dead_seconds, row[7]);
    all_paused &= row[8] >= 0;
    pause_watts += row[8];
  }
  run_joules_ += joules;
  if (metered_ && gap_seconds == 0 && shared.dead_seconds == 0) shared.joules = joules;
  if (all_paused) shared.pause_watts = pause_watts;
  return shared;
}

double RunAccounts::settle() {
  energy_.sample();
  const double mine = joules_since_last();
  double joules = 0;
  for (const std::vector<double>& row : exchange_.gather({&mine, 1})) joules += row.front();
  run_joules_ += joules;
  last_gap_seconds_ = energy_.gaps().seconds;
  refresh_source();
  return joules;
}

std::string RunAccounts::new_gaps() {
  std::vector<std::string> failed;
  for (const std::string& text : exchange_.gather_texts(energy_.gaps().why)) {
    if (!text.empty()) failed.push_back(text);
  }
  const std::string gaps = fmt::format("{}", fmt::join(failed, "; "));
  return gaps == std::exchange(told_gaps_, gaps) ? "" : gaps;
}

std::optional<double> RunAccounts::training_joules() const {
  return metered_ ? std::optional(training_joules_) : std::nullopt;
}

std::optional<double> RunAccounts::run_joules() const {
  return metered_ || run_joules_ > 0 ? std::optional(run_joules_) : std::nullopt;
}

EnergyLedger RunAccounts::ledger() {
  EnergyLedger sum = earlier_.ledger;
  EnergyLedger mine = energy_.ledger();
  std::vector<DeviceTotal> devices = mine.devices();
  for (DeviceTotal& device : devices) device.host = energy_.host();
  mine.set_devices(std::move(devices));
  for (const std::string& text : exchange_.gather_texts(mine.serialize())) {
    sum += EnergyLedger::parse(text);
  }
  return sum;
}

EnergyLedger RunAccounts::close() {
  settle();
  EnergyLedger sum = ledger();
  run_joules_ = sum.run().joules.total() + lost_joules_;
  return sum;
}

}  // namespace wattle
