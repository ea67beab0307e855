#include "compression/widths/choose_widths.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/error.h"

namespace wattle {
namespace {

using Weights = std::vector<std::vector<WidthChoice>>;

constexpr int kBisections = 200;

void check(const Weights& weights, double budget) {
  double least = 0;
  for (const auto& choices : weights) {
    double cheapest = std::numeric_limits<double>::infinity();
    for (const WidthChoice& c : choices) {
      const bool is_bad = c.loss_increase == std::numeric_limits<double>::infinity();
      if (!std::isfinite(c.cost) || c.cost < 0 || (!std::isfinite(c.loss_increase) && !is_bad)) {
        throw Error(ErrorCode::kInternal,
                    fmt::format("widths: cost {} and loss increase {} of a choice, expected finite "
                                "numbers and no cost below 0",
                                c.cost, c.loss_increase));
      }
      if (!is_bad) cheapest = std::min(cheapest, c.cost);
    }
    if (choices.empty()) throw Error(ErrorCode::kInternal, "widths: a weight has no choices");
    least += cheapest;
  }
  if (!(least <= budget)) {
    throw Error(
        ErrorCode::kConfig,
        fmt::format("widths: the smallest candidates that leave a finite loss cost {:.15g}, "
                    "more than the budget of {:.15g}",
                    least, budget));
  }
}

/// The choice with the least loss + price * cost; of equal ones the cheaper.
size_t best_at(const std::vector<WidthChoice>& choices, double price) {
  const auto key = [&](const WidthChoice& c) {
    return std::pair(c.loss_increase + price * c.cost, c.cost);
  };
  return static_cast<size_t>(std::ranges::min_element(choices, {}, key) - choices.begin());
}

double cost_at(const Weights& weights, double price) {
  double cost = 0;
  for (const auto& choices : weights) cost += choices[best_at(choices, price)].cost;
  return cost;
}

/// A price, nearly the least, at which the best choices fit into the budget.
double fitting_price(const Weights& weights, double budget) {
  if (cost_at(weights, 0) <= budget) return 0;
  double low = 0, high = 1e-12;
  while (cost_at(weights, high) > budget && high < 1e300) low = high, high *= 4;
  for (int i = 0; i < kBisections; ++i) {
    const double middle = (low + high) / 2;
    (cost_at(weights, middle) <= budget ? high : low) = middle;
  }
  return high;
}

/// What the weights from some place on must cost and add, whatever is chosen.
struct Rest {
  double cost = 0;    ///< of the cheapest choices
  double priced = 0;  ///< of the best choices at the price: loss + price * cost
};

std::vector<Rest> rests_of(const Weights& weights, double price) {
  std::vector<Rest> rests(weights.size() + 1);
  for (size_t i = weights.size(); i-- > 0;) {
    double cheapest = std::numeric_limits<double>::infinity();
    for (const WidthChoice& c : weights[i]) cheapest = std::min(cheapest, c.cost);
    const WidthChoice& best = weights[i][best_at(weights[i], price)];
    rests[i].cost = rests[i + 1].cost + cheapest;
    rests[i].priced = rests[i + 1].priced + best.loss_increase + price * best.cost;
  }
  return rests;
}

/// The choices of some first weights.
struct Partial {
  double cost = 0;
  double loss = 0;
  size_t before = 0;  ///< index among the partials of one weight less
  size_t choice = 0;
};

/// The undominated ones, by rising cost and falling loss.
std::vector<Partial> undominated(std::vector<Partial> partials) {
  std::ranges::sort(partials, [](const Partial& a, const Partial& b) {
    return a.cost != b.cost ? a.cost < b.cost : a.loss < b.loss;
  });
  std::vector<Partial> kept;
  for (const Partial& p : partials) {
    if (kept.empty() || p.loss < kept.back().loss) kept.push_back(p);
  }
  return kept;
}

}  // namespace

std::vector<size_t> choose_widths(const Weights& weights, double budget) {
  check(weights, budget);
  const double price = fitting_price(weights, budget);
  const std::vector<Rest> rests = rests_of(weights, price);
  double known = 0;
  for (const auto& choices : weights) known += choices[best_at(choices, price)].loss_increase;
  // Sums in another order differ in their last bits.
  const double limit = known + 1e-9 * (1 + std::abs(known));

  std::vector<std::vector<Partial>> levels = {{Partial{}}};
  for (size_t i = 0; i < weights.size(); ++i) {
    std::vector<Partial> next;
    for (size_t p = 0; p < levels[i].size(); ++p) {
      for (size_t c = 0; c < weights[i].size(); ++c) {
        const double cost = levels[i][p].cost + weights[i][c].cost;
        const double loss = levels[i][p].loss + weights[i][c].loss_increase;
        if (cost + rests[i + 1].cost > budget) continue;
        if (loss + rests[i + 1].priced - price * (budget - cost) > limit) continue;
        next.push_back({cost, loss, p, c});
      }
    }
    levels.push_back(undominated(std::move(next)));
  }
  std::vector<size_t> chosen(weights.size());
  size_t at = levels.back().size() - 1;  // the least loss
  for (size_t i = weights.size(); i-- > 0;) {
    chosen[i] = levels[i + 1][at].choice;
    at = levels[i + 1][at].before;
  }
  return chosen;
}

}  // namespace wattle
