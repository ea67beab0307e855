#include "compression/widths/choose_widths.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "common/error.h"

namespace wattle {
namespace {

using Weights = std::vector<std::vector<WidthChoice>>;

constexpr int kBisections = 200;

void check(const Weights& weights, int64_t budget_bytes) {
  int64_t least = 0;
  for (const auto& choices : weights) {
    std::optional<int64_t> smallest;
    for (const WidthChoice& c : choices) {
      const bool is_bad = c.loss_increase == std::numeric_limits<double>::infinity();
      if (c.bytes < 0 || (!std::isfinite(c.loss_increase) && !is_bad)) {
        throw Error(ErrorCode::kInternal,
                    fmt::format("widths: {} bytes and loss increase {} of a choice, expected a "
                                "finite increase and no bytes below 0",
                                c.bytes, c.loss_increase));
      }
      if (!is_bad) smallest = std::min(smallest.value_or(c.bytes), c.bytes);
    }
    if (choices.empty()) throw Error(ErrorCode::kInternal, "widths: a weight has no choices");
    if (!smallest) {
      throw Error(ErrorCode::kConfig, "widths: no candidate of a weight leaves a finite loss");
    }
    least += *smallest;
  }
  if (least > budget_bytes) {
    throw Error(ErrorCode::kConfig,
                fmt::format("widths: the smallest candidates that leave a finite loss take {} "
                            "bytes, more than the budget of {}",
                            least, budget_bytes));
  }
}

double priced(const WidthChoice& c, double price) {
  return c.loss_increase + price * static_cast<double>(c.bytes);
}

/// The choice with the least loss + price * bytes; of equal ones the smaller.
size_t best_at(const std::vector<WidthChoice>& choices, double price) {
  const auto key = [&](const WidthChoice& c) { return std::pair(priced(c, price), c.bytes); };
  return static_cast<size_t>(std::ranges::min_element(choices, {}, key) - choices.begin());
}

int64_t bytes_at(const Weights& weights, double price) {
  int64_t bytes = 0;
  for (const auto& choices : weights) bytes += choices[best_at(choices, price)].bytes;
  return bytes;
}

/// A price, nearly the least, at which the best choices fit into the budget.
double fitting_price(const Weights& weights, int64_t budget) {
  if (bytes_at(weights, 0) <= budget) return 0;
  double low = 0, high = 1e-12;
  while (bytes_at(weights, high) > budget && high < 1e300) low = high, high *= 4;
  for (int i = 0; i < kBisections; ++i) {
    const double middle = (low + high) / 2;
    (bytes_at(weights, middle) <= budget ? high : low) = middle;
  }
  return high;
}

/// What the weights from some place on must take and add, whatever is chosen.
struct Rest {
  int64_t bytes = 0;  ///< of the smallest choices
  double priced = 0;  ///< of the best choices at the price: loss + price * bytes
};

std::vector<Rest> rests_of(const Weights& weights, double price) {
  std::vector<Rest> rests(weights.size() + 1);
  for (size_t i = weights.size(); i-- > 0;) {
    const int64_t smallest = std::ranges::min_element(weights[i], {}, &WidthChoice::bytes)->bytes;
    rests[i].bytes = rests[i + 1].bytes + smallest;
    rests[i].priced = rests[i + 1].priced + priced(weights[i][best_at(weights[i], price)], price);
  }
  return rests;
}

/// The choices of some first weights.
struct Partial {
  int64_t bytes = 0;
  double loss = 0;
  size_t before = 0;  ///< index among the partials of one weight less
  size_t choice = 0;
};

/// The undominated ones, by rising bytes and falling loss.
std::vector<Partial> undominated(std::vector<Partial> partials) {
  std::ranges::sort(partials, [](const Partial& a, const Partial& b) {
    return a.bytes != b.bytes ? a.bytes < b.bytes : a.loss < b.loss;
  });
  std::vector<Partial> kept;
  for (const Partial& p : partials) {
    if (kept.empty() || p.loss < kept.back().loss) kept.push_back(p);
  }
  return kept;
}

}  // namespace

std::vector<size_t> choose_widths(const Weights& weights, int64_t budget_bytes) {
  check(weights, budget_bytes);
  const double price = fitting_price(weights, budget_bytes);
  const std::vector<Rest> rests = rests_of(weights, price);
  double known = 0;
  for (const auto& choices : weights) known += choices[best_at(choices, price)].loss_increase;
  // Sums in another order differ in their last bits.
  const double limit =
      known + 1e-9 * (1 + std::abs(known) + price * static_cast<double>(budget_bytes));

  std::vector<std::vector<Partial>> levels = {{Partial{}}};
  for (size_t i = 0; i < weights.size(); ++i) {
    std::vector<Partial> next;
    for (size_t p = 0; p < levels[i].size(); ++p) {
      for (size_t c = 0; c < weights[i].size(); ++c) {
        const int64_t bytes = levels[i][p].bytes + weights[i][c].bytes;
        const double loss = levels[i][p].loss + weights[i][c].loss_increase;
        if (bytes + rests[i + 1].bytes > budget_bytes) continue;
        const double left = price * static_cast<double>(budget_bytes - bytes);
        if (loss + rests[i + 1].priced - left > limit) continue;
        next.push_back({bytes, loss, p, c});
      }
    }
    if (next.empty()) throw Error(ErrorCode::kInternal, "widths: no choices are left");
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
