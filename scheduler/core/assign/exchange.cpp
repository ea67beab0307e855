#include "scheduler/core/assign/exchange.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <queue>

namespace wattle::scheduler {
namespace {

/// Trades are sought among at most so many items in all, and so often through all jobs.
constexpr size_t kMostTradedItems = 3000;
constexpr int kMostTradePasses = 20;
constexpr double kLeastGain = 1e-9;

}  // namespace

Exchange::Exchange(const Problem& problem)
    : problem_(&problem), items_(problem.jobs.size(), kNothing) {
  left_.devices = problem.devices;
  left_.watts = problem.watts;
  for (const auto& joules : problem.joules) {
    left_.joules.push_back(joules.value_or(std::numeric_limits<double>::infinity()));
  }
}

const Item* Exchange::item(size_t job, int index) const {
  return index == kNothing ? nullptr : &problem_->jobs[job].items[index];
}

bool Exchange::fits(size_t job, int index) const {
  const Item* wanted = item(job, index);
  if (!wanted) return true;
  Item free{0, 0, left_.devices[wanted->type], left_.watts,
            left_.joules[problem_->jobs[job].tenant]};
  if (const Item* present = item(job, items_[job])) {
    if (present->type == wanted->type) free.ranks += present->ranks;
    free.watts += present->watts;
    free.joules += present->joules;
  }
  return wanted->ranks <= free.ranks && wanted->watts <= free.watts + 1e-9 &&
         wanted->joules <= free.joules + 1e-9;
}

void Exchange::take(size_t job, int index, int sign) {
  const Item* taken = item(job, index);
  if (!taken) return;
  left_.devices[taken->type] -= sign * taken->ranks;
  left_.watts -= sign * taken->watts;
  left_.joules[problem_->jobs[job].tenant] -= sign * taken->joules;
}

void Exchange::set(size_t job, int index) {
  take(job, items_[job], -1);
  items_[job] = index;
  take(job, index, 1);
}

void Exchange::upgrade(const std::function<double(const Item&, int)>& price) {
  struct Step {
    double ratio;
    size_t job;
    int index;
    bool operator<(const Step& other) const {
      return ratio != other.ratio ? ratio < other.ratio : job > other.job;
    }
  };
  auto best_step = [&](size_t j) {
    const int tenant = problem_->jobs[j].tenant;
    const Item* present = item(j, items_[j]);
    const double value = present ? present->value : 0;
    const double paid = present ? price(*present, tenant) : 0;
    Step best{0, j, kNothing};
    for (int i = 0; i < static_cast<int>(problem_->jobs[j].items.size()); ++i) {
      const Item& wanted = problem_->jobs[j].items[i];
      if (wanted.value <= value + kLeastGain || !fits(j, i)) continue;
      const double ratio = (wanted.value - value) / std::max(1e-9, price(wanted, tenant) - paid);
      if (ratio > best.ratio) best = {ratio, j, i};
    }
    return best;
  };
  std::priority_queue<Step> steps;
  for (size_t j = 0; j < problem_->jobs.size(); ++j) {
    if (Step step = best_step(j); step.index != kNothing) steps.push(step);
  }
  while (!steps.empty()) {
    const Step step = steps.top();
    steps.pop();
    if (fits(step.job, step.index)) set(step.job, step.index);
    if (Step next = best_step(step.job); next.index != kNothing) steps.push(next);
  }
}

/// The dearest item that fits after the others have moved.
double Exchange::best_upgrade(size_t job, int& index) const {
  const Item* present = item(job, items_[job]);
  double best = 0;
  index = kNothing;
  for (int i = 0; i < static_cast<int>(problem_->jobs[job].items.size()); ++i) {
    const double gain = problem_->jobs[job].items[i].value - (present ? present->value : 0);
    if (gain > best && fits(job, i)) best = gain, index = i;
  }
  return best;
}

/// Tries every step down (or off, or across) of this job, followed by the best step up of another
/// one, and after that of a third.
bool Exchange::trade_for(size_t job) {
  const int before = items_[job];
  const Item* present = item(job, before);
  if (!present) return false;
  struct Trade {
    double gain = kLeastGain;
    int index = 0, other_index = 0, third_index = kNothing;
    size_t other = 0, third = 0;
  } best;
  for (int i = kNothing; i < static_cast<int>(problem_->jobs[job].items.size()); ++i) {
    const Item* lower = item(job, i);
    const double loss = present->value - (lower ? lower->value : 0);
    if (i == before || loss < 0 || !fits(job, i)) continue;
    set(job, i);
    for (size_t other = 0; other < problem_->jobs.size(); ++other) {
      int up = kNothing;
      const double gain = other == job ? 0 : best_upgrade(other, up);
      if (gain <= 0) continue;
      if (gain - loss > best.gain) best = {gain - loss, i, up, kNothing, other, 0};
      const int other_before = items_[other];
      set(other, up);
      for (size_t third = 0; third < problem_->jobs.size() && problem_->jobs.size() <= 32;
           ++third) {
        int more = kNothing;
        if (third == job || third == other) continue;
        const double second_gain = best_upgrade(third, more);
        if (gain + second_gain - loss > best.gain && more != kNothing) {
          best = {gain + second_gain - loss, i, up, more, other, third};
        }
      }
      set(other, other_before);
    }
    set(job, before);
  }
  if (best.gain <= kLeastGain) return false;
  set(job, best.index);
  set(best.other, best.other_index);
  if (best.third_index != kNothing) set(best.third, best.third_index);
  return true;
}

namespace {

/// Item numbers of every job, the most valuable first.
std::vector<std::vector<int>> by_value(const Problem& problem) {
  std::vector<std::vector<int>> orders;
  for (const Bidder& job : problem.jobs) {
    std::vector<int>& order = orders.emplace_back(job.items.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](int a, int b) { return job.items[a].value > job.items[b].value; });
  }
  return orders;
}

}  // namespace

/// Depth first, the most valuable items first; a branch ends where even the most valuable items of
/// the jobs that are left would not be enough.
struct Exchange::Search {
  Exchange& exchange;
  const std::vector<size_t>& jobs;
  int& choices;
  double best_value;
  std::vector<int> best;
  std::vector<int> chosen;

  double most(size_t from) const {
    double sum = 0;
    for (size_t k = from; k < jobs.size(); ++k) {
      const std::vector<int>& order = exchange.by_value_[jobs[k]];
      if (!order.empty()) sum += exchange.item(jobs[k], order.front())->value;
    }
    return sum;
  }

  void choose(size_t k, double value) {
    if (k == jobs.size()) {
      if (value > best_value + kLeastGain) best_value = value, best = chosen;
      return;
    }
    const double others = most(k + 1);
    for (const int index : exchange.by_value_[jobs[k]]) {
      const double sum = value + exchange.item(jobs[k], index)->value;
      if (sum + others <= best_value + kLeastGain || --choices <= 0) return;
      if (!exchange.fits(jobs[k], index)) continue;
      exchange.set(jobs[k], index);
      chosen[k] = index;
      choose(k + 1, sum);
      exchange.set(jobs[k], kNothing);
    }
    chosen[k] = kNothing;
    if (value + others > best_value + kLeastGain) choose(k + 1, value);
  }
};

bool Exchange::reassign(const std::vector<size_t>& jobs, int& choices) {
  double value = 0;
  std::vector<int> present;
  for (size_t job : jobs) {
    present.push_back(items_[job]);
    if (const Item* held = item(job, items_[job])) value += held->value;
    set(job, kNothing);
  }
  Search search{*this, jobs, choices, value, present, present};
  search.choose(0, 0);
  for (size_t k = 0; k < jobs.size(); ++k) set(jobs[k], search.best[k]);
  return search.best_value > value;
}

void Exchange::reassign(int most_choices) {
  by_value_ = by_value(*problem_);
  const size_t count = problem_->jobs.size();
  // A group counts as a choice, though its search may end at once: there are count^3 / 6 of three.
  int choices = most_choices;
  const auto improves = [&](const std::vector<size_t>& jobs) {
    return --choices > 0 && reassign(jobs, choices);
  };
  bool better = true;
  while (better && choices > 0) {
    better = false;
    for (size_t a = 0; a < count && choices > 0; ++a) {
      for (size_t b = 0; b < a; ++b) better |= improves({a, b});
    }
    for (size_t a = 0; a < count && !better && choices > 0; ++a) {
      for (size_t b = 0; b < a && choices > 0; ++b) {
        for (size_t c = 0; c < b; ++c) better |= improves({a, b, c});
      }
    }
  }
}

void Exchange::trade() {
  size_t items = 0;
  for (const Bidder& job : problem_->jobs) items += job.items.size();
  if (items > kMostTradedItems) return;
  bool better = true;
  for (int pass = 0; pass < kMostTradePasses && better; ++pass) {
    better = false;
    for (size_t job = 0; job < problem_->jobs.size(); ++job) better |= trade_for(job);
  }
}

}  // namespace wattle::scheduler
