#include "scheduler/core/policy/energy/keep_runs.h"

#include <algorithm>
#include <limits>
#include <queue>
#include <vector>

namespace wattle::scheduler {
namespace {

constexpr double kSameWatts = 1e-9;

/// What a job can give up for watts.
enum class Giving { kLimits, kLimitsAndRanks };

/// A job's step from one of its items to a smaller one, and what is lost by it for a watt.
struct Step {
  double loss = 0;
  size_t job = 0;
  int from = kNothing, to = kNothing;
  /// The cheapest first.
  bool operator<(const Step& other) const {
    return loss != other.loss ? loss > other.loss : job > other.job;
  }
};

class Keeper {
 public:
  Keeper(const Snapshot& snapshot, const Problem& problem, Assignment& assignment)
      : snapshot_(snapshot), problem_(problem), items_(assignment.items) {
    left_devices_ = problem.devices;
    left_watts_ = problem.watts;
    left_joules_ = problem.joules;
    for (size_t j = 0; j < items_.size(); ++j) {
      if (items_[j] != kNothing) count(j, items_[j], -1);
    }
  }

  void keep_ranks();
  void keep_running();

 private:
  struct Wanted {
    double value = 0;
    size_t job = 0;
    int item = kNothing;
  };
  const Item& item(size_t job, int index) const { return problem_.jobs[job].items[index]; }
  int least_item(size_t job, int least_ranks) const;
  void count(size_t job, int index, int sign);
  void set(size_t job, int index);
  void begin(Giving giving);
  void keep(std::vector<Wanted> wanted, Giving giving);
  bool make_room(const Wanted& wanted);
  void push_step(size_t job);
  bool gives(const Item& from, const Item& to) const;
  double to_give(size_t job) const;

  const Snapshot& snapshot_;
  const Problem& problem_;
  std::vector<int>& items_;
  std::vector<int> left_devices_;
  double left_watts_ = 0;
  std::vector<std::optional<double>> left_joules_;
  Giving giving_ = Giving::kLimits;
  std::priority_queue<Step> steps_;
  double to_give_ = 0;  ///< watts, by all steps together
};

/// Of those with so many ranks at least, on the type where the job runs, the one of fewest watts.
int Keeper::least_item(size_t job, int least_ranks) const {
  int least = kNothing;
  const std::vector<Item>& items = problem_.jobs[job].items;
  for (int i = 0; i < static_cast<int>(items.size()); ++i) {
    const auto& now = snapshot_.jobs[job].current;
    if (items[i].ranks < least_ranks || (now && items[i].type != now->type)) continue;
    if (least == kNothing || items[i].watts < items[least].watts) least = i;
  }
  return least;
}

void Keeper::count(size_t job, int index, int sign) {
  const Item& taken = item(job, index);
  left_devices_[taken.type] += sign * taken.ranks;
  left_watts_ += sign * taken.watts;
  auto& joules = left_joules_[problem_.jobs[job].tenant];
  if (joules) *joules += sign * taken.joules;
}

bool Keeper::gives(const Item& from, const Item& to) const {
  return to.type == from.type && to.watts < from.watts - kSameWatts &&
         (giving_ == Giving::kLimits ? to.ranks == from.ranks : to.ranks <= from.ranks);
}

void Keeper::push_step(size_t job) {
  const Item& from = item(job, items_[job]);
  Step best{std::numeric_limits<double>::infinity(), job, items_[job]};
  const std::vector<Item>& items = problem_.jobs[job].items;
  for (int i = 0; i < static_cast<int>(items.size()); ++i) {
    if (!gives(from, items[i])) continue;
    const double loss = (from.value - items[i].value) / (from.watts - items[i].watts);
    if (loss < best.loss) best.loss = loss, best.to = i;
  }
  if (best.to != kNothing) steps_.push(best);
}

double Keeper::to_give(size_t job) const {
  if (items_[job] == kNothing) return 0;
  const Item& from = item(job, items_[job]);
  double least = from.watts;
  for (const Item& to : problem_.jobs[job].items) {
    if (gives(from, to)) least = std::min(least, to.watts);
  }
  return from.watts - least;
}

/// Another item in place of the one that the job has, if any.
void Keeper::set(size_t job, int index) {
  if (items_[job] != kNothing) count(job, items_[job], 1);
  count(job, index, -1);
  items_[job] = index;
}

void Keeper::begin(Giving giving) {
  giving_ = giving;
  steps_ = {};
  to_give_ = 0;
  for (size_t j = 0; j < items_.size(); ++j) {
    if (items_[j] == kNothing) continue;
    to_give_ += to_give(j);
    push_step(j);
  }
}

/// Makes steps until the wanted item fits in place of what the job has.
bool Keeper::make_room(const Wanted& wanted) {
  const Item& more = item(wanted.job, wanted.item);
  const int now = items_[wanted.job];
  const Item none;
  const Item& less = now == kNothing ? none : item(wanted.job, now);
  const double watts = more.watts - less.watts;
  const auto& joules = left_joules_[problem_.jobs[wanted.job].tenant];
  if (more.ranks - less.ranks > left_devices_[more.type]) return false;
  if (joules && more.joules - less.joules > *joules + kSameWatts) return false;
  const double own = to_give(wanted.job);
  if (watts > left_watts_ + to_give_ - own + kSameWatts) return false;
  to_give_ -= own;
  std::vector<Step> made;
  while (watts > left_watts_ + kSameWatts && !steps_.empty()) {
    const Step step = steps_.top();
    steps_.pop();
    if (items_[step.job] != step.from || step.job == wanted.job) continue;
    set(step.job, step.to);
    to_give_ -= item(step.job, step.from).watts - item(step.job, step.to).watts;
    made.push_back(step);
    push_step(step.job);
  }
  if (watts <= left_watts_ + kSameWatts) return true;
  // Fewer watts could be given than it seemed: nobody gives any in vain.
  for (auto step = made.rbegin(); step != made.rend(); ++step) set(step->job, step->from);
  begin(giving_);
  return false;
}

void Keeper::keep(std::vector<Wanted> wanted, Giving giving) {
  if (wanted.empty()) return;
  std::stable_sort(wanted.begin(), wanted.end(),
                   [](const Wanted& a, const Wanted& b) { return a.value > b.value; });
  begin(giving);
  for (const Wanted& one : wanted) {
    if (!make_room(one)) continue;
    set(one.job, one.item);
  }
}

void Keeper::keep_ranks() {
  std::vector<Wanted> wanted;
  for (size_t j = 0; j < items_.size(); ++j) {
    const auto& now = snapshot_.jobs[j].current;
    if (!now) continue;
    const bool is_planned = items_[j] != kNothing;
    if (is_planned && item(j, items_[j]).type != now->type) continue;
    if (is_planned && item(j, items_[j]).ranks >= now->ranks) continue;
    const int least = least_item(j, now->ranks);
    if (least != kNothing && item(j, least).ranks == now->ranks) {
      wanted.push_back({item(j, least).value, j, least});
    }
  }
  keep(std::move(wanted), Giving::kLimits);
}

void Keeper::keep_running() {
  std::vector<Wanted> wanted;
  for (size_t j = 0; j < items_.size(); ++j) {
    const JobView& job = snapshot_.jobs[j];
    if (items_[j] != kNothing || (!job.current && !job.resizing)) continue;
    const int least = least_item(j, 1);
    if (least != kNothing) wanted.push_back({item(j, least).value, j, least});
  }
  keep(std::move(wanted), Giving::kLimitsAndRanks);
}

}  // namespace

void keep_runs(const Snapshot& snapshot, const Problem& problem, Assignment& assignment) {
  Keeper keeper(snapshot, problem, assignment);
  keeper.keep_ranks();
  keeper.keep_running();
  assignment.value = value_of(problem, assignment);
}

}  // namespace wattle::scheduler
