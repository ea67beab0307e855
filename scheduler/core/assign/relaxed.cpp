#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "scheduler/core/assign/exchange.h"
#include "scheduler/core/assign/problem.h"

namespace wattle::scheduler {
namespace {

/// Prices are found on at most so many jobs, evenly drawn, with everything else in proportion; the
/// whole problem is then priced once more.
constexpr size_t kMostSampled = 2000;
constexpr int kSteps = 120;
/// Up to so many items, repair is tried from several sides of the prices, or with each item in turn
/// given first, and so many of the outcomes are traded on.
constexpr size_t kManySidesItems = 3000;
constexpr size_t kPilotItems = 1200;
constexpr size_t kTradedSides = 6;
/// Then the jobs' items are chosen anew by twos and threes, looking at so many choices an outcome.
constexpr int kMostChoices = 100000;

/// Prices per unit of each resource.
struct Prices {
  std::vector<double> device;  ///< by type
  double watt = 0;
  std::vector<double> joule;  ///< by tenant; 0 where unlimited

  double of(const Item& item, int tenant) const {
    return device[item.type] * item.ranks + watt * item.watts + joule[tenant] * item.joules;
  }
};

/// The dual: what all jobs gain at these prices, and what all resources are worth.
struct Dual {
  double value = 0;
  Prices excess;  ///< demand minus supply of each resource: the subgradient, negated
};

Dual dual_at(const Problem& problem, const Prices& prices, size_t stride, double scale) {
  Dual dual;
  dual.excess.device.assign(problem.devices.size(), 0);
  dual.excess.joule.assign(problem.joules.size(), 0);
  for (size_t j = 0; j < problem.jobs.size(); j += stride) {
    const Bidder& job = problem.jobs[j];
    const Item* best = nullptr;
    double gain = 0;
    for (const Item& item : job.items) {
      const double reduced = item.value - prices.of(item, job.tenant);
      if (reduced > gain) gain = reduced, best = &item;
    }
    if (!best) continue;
    dual.value += gain;
    dual.excess.device[best->type] += best->ranks;
    dual.excess.watt += best->watts;
    dual.excess.joule[job.tenant] += best->joules;
  }
  for (size_t t = 0; t < problem.devices.size(); ++t) {
    dual.value += prices.device[t] * problem.devices[t] * scale;
    dual.excess.device[t] -= problem.devices[t] * scale;
  }
  dual.value += prices.watt * problem.watts * scale;
  dual.excess.watt -= problem.watts * scale;
  for (size_t t = 0; t < problem.joules.size(); ++t) {
    const double supply = problem.joules[t].value_or(0) * scale;
    dual.value += prices.joule[t] * supply;
    dual.excess.joule[t] = problem.joules[t] ? dual.excess.joule[t] - supply : 0;
  }
  return dual;
}

/// One price moves along its subgradient; steps are relative to the supply, so that all are alike.
struct Axis {
  double* price;
  const double* excess;
  double supply;
};

std::vector<Axis> axes_of(const Problem& problem, Prices& prices, const Dual& dual, double scale) {
  std::vector<Axis> axes;
  for (size_t t = 0; t < problem.devices.size(); ++t) {
    axes.push_back({&prices.device[t], &dual.excess.device[t], problem.devices[t] * scale});
  }
  axes.push_back({&prices.watt, &dual.excess.watt, problem.watts * scale});
  for (size_t t = 0; t < problem.joules.size(); ++t) {
    if (!problem.joules[t]) continue;
    axes.push_back({&prices.joule[t], &dual.excess.joule[t], *problem.joules[t] * scale});
  }
  return axes;
}

/// Polyak's steps towards a target that is lowered whenever it is not reached.
Prices find_prices(const Problem& problem) {
  const size_t stride = problem.jobs.size() / kMostSampled + 1;
  const double sampled = std::ceil(static_cast<double>(problem.jobs.size()) / stride);
  const double scale =
      problem.jobs.empty() ? 1 : sampled / static_cast<double>(problem.jobs.size());
  Prices prices{std::vector<double>(problem.devices.size()), 0,
                std::vector<double>(problem.joules.size())};
  Prices best = prices;
  double least = std::numeric_limits<double>::infinity();
  double step = 0.5;
  int worse = 0;
  for (int n = 0; n < kSteps; ++n) {
    const Dual dual = dual_at(problem, prices, stride, scale);
    if (dual.value < least * (1 - 1e-6)) {
      least = dual.value, best = prices, worse = 0;
    } else if (++worse >= 4) {
      step *= 0.6, worse = 0;
      prices = best;
      continue;
    }
    const std::vector<Axis> axes = axes_of(problem, prices, dual, scale);
    double norm = 0;
    auto relative = [](const Axis& axis) { return *axis.excess / std::max(axis.supply, 1e-9); };
    for (const Axis& axis : axes) {
      if (*axis.price > 0 || *axis.excess > 0) norm += relative(axis) * relative(axis);
    }
    if (norm < 1e-12) break;
    const double length = step * dual.value / norm;
    for (const Axis& axis : axes) {
      const double moved = *axis.price + length * relative(axis) / std::max(axis.supply, 1e-9);
      *axis.price = std::max(0.0, moved);
    }
  }
  return best;
}

enum class Order { kRatio, kGain };

/// Jobs in the order of what they gain for what they pay, or of what they gain beyond it; each
/// takes its best item that still fits.
void fill(const Problem& problem, const Prices& prices, Order by, Exchange& exchange) {
  std::vector<std::pair<double, size_t>> order;
  for (size_t j = 0; j < problem.jobs.size(); ++j) {
    double best = -std::numeric_limits<double>::infinity();
    for (const Item& item : problem.jobs[j].items) {
      const double price = prices.of(item, problem.jobs[j].tenant);
      best =
          std::max(best, by == Order::kRatio ? item.value / (price + 1e-12) : item.value - price);
    }
    if (!problem.jobs[j].items.empty()) order.emplace_back(-best, j);
  }
  std::sort(order.begin(), order.end());
  for (const auto& [merit, j] : order) {
    const Bidder& job = problem.jobs[j];
    if (exchange.items()[j] != kNothing) continue;
    int best = kNothing;
    double gain = -std::numeric_limits<double>::infinity();
    for (int i = 0; i < static_cast<int>(job.items.size()); ++i) {
      const double reduced = job.items[i].value - prices.of(job.items[i], job.tenant);
      if (reduced > gain && exchange.fits(j, i)) gain = reduced, best = i;
    }
    if (best != kNothing) exchange.set(j, best);
  }
}

Prices scaled(Prices prices, double device, double watt) {
  for (double& price : prices.device) price *= device;
  prices.watt *= watt;
  return prices;
}

struct Outcome {
  double value = 0;
  Exchange exchange;
};

/// Fills up and upgrades what is not set yet.
Outcome complete(const Problem& problem, const Prices& prices, Order order, Exchange exchange) {
  fill(problem, prices, order, exchange);
  exchange.upgrade([&](const Item& item, int tenant) { return prices.of(item, tenant); });
  const double value = value_of(problem, {exchange.items(), 0, 0});
  return {value, std::move(exchange)};
}

/// A few jobs leave the prices much freedom: small problems are repaired from several sides of
/// them.
std::vector<Outcome> repair_from_many_sides(const Problem& problem, const Prices& prices) {
  std::vector<Outcome> outcomes;
  for (Order order : {Order::kRatio, Order::kGain}) {
    for (double factor : {0.6, 0.8, 1.0, 1.25, 1.6}) {
      for (const auto& [device, watt] : {std::pair(factor, 1.0), {1.0, factor}, {factor, factor}}) {
        outcomes.push_back(
            complete(problem, scaled(prices, device, watt), order, Exchange(problem)));
      }
    }
  }
  return outcomes;
}

/// The pilot method: each item in turn is given first, and the rest follows.
void add_pilots(const Problem& problem, const Prices& prices, std::vector<Outcome>& outcomes) {
  for (size_t j = 0; j < problem.jobs.size(); ++j) {
    for (int i = 0; i < static_cast<int>(problem.jobs[j].items.size()); ++i) {
      Exchange forced(problem);
      if (!forced.fits(j, i)) continue;
      forced.set(j, i);
      outcomes.push_back(complete(problem, prices, Order::kRatio, std::move(forced)));
    }
  }
}

std::vector<int> repair(const Problem& problem, const Prices& prices) {
  size_t items = 0;
  for (const Bidder& job : problem.jobs) items += job.items.size();
  std::vector<Outcome> outcomes;
  if (items <= kManySidesItems) {
    outcomes = repair_from_many_sides(problem, prices);
    if (items <= kPilotItems) add_pilots(problem, prices, outcomes);
  } else {
    outcomes.push_back(complete(problem, prices, Order::kRatio, Exchange(problem)));
  }
  std::stable_sort(outcomes.begin(), outcomes.end(),
                   [](const Outcome& a, const Outcome& b) { return a.value > b.value; });
  std::vector<int> best;
  double most = -1;
  for (size_t i = 0; i < std::min(kTradedSides, outcomes.size()); ++i) {
    outcomes[i].exchange.trade();
    if (items <= kPilotItems) outcomes[i].exchange.reassign(kMostChoices);
    const double value = value_of(problem, {outcomes[i].exchange.items(), 0, 0});
    if (value > most) most = value, best = outcomes[i].exchange.items();
  }
  return best;
}

}  // namespace

Assignment solve_relaxed(const Problem& problem) {
  const Prices prices = find_prices(problem);
  Assignment result{repair(problem, prices), 0, 0};
  result.value = value_of(problem, result);
  result.bound = dual_at(problem, prices, 1, 1).value;
  return result;
}

}  // namespace wattle::scheduler
