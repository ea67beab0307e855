#include "common/report/chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace wattle {
namespace {

constexpr double kWidth = 720, kHeight = 240, kLeft = 56, kRight = 12, kTop = 12, kBottom = 36;
constexpr double kLegendWidth = 90;
constexpr int kColumns = 320;
constexpr const char* kColors[] = {"#2f6f4f", "#c2571a", "#3a5a9b", "#8a5a9b"};

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  void include(double v) {
    if (!std::isfinite(v)) return;
    low = std::min(low, v);
    high = std::max(high, v);
  }
  /// An empty or flat range is widened, so that there is something to divide by.
  void widen() {
    if (low > high) low = 0, high = 1;
    if (low == high) low -= 0.5, high += 0.5;
  }
  double share(double v) const { return (v - low) / (high - low); }
};

/// Of each column's points the lowest and the highest, in order.
std::vector<std::pair<double, double>> thin(const std::vector<std::pair<double, double>>& points) {
  if (points.size() <= 2 * kColumns) return points;
  std::vector<std::pair<double, double>> kept;
  for (int column = 0; column < kColumns; ++column) {
    const auto first = points.begin() + points.size() * column / kColumns;
    const auto last = points.begin() + points.size() * (column + 1) / kColumns;
    auto [low, high] = std::minmax_element(
        first, last, [](const auto& a, const auto& b) { return a.second < b.second; });
    if (low > high) std::swap(low, high);
    kept.push_back(*low);
    if (low != high) kept.push_back(*high);
  }
  return kept;
}

std::string grid(const Range& x, const Range& y, auto to_x, auto to_y) {
  std::string svg;
  for (double tick : axis_ticks(y.low, y.high, 5)) {
    svg += fmt::format(
        "<line x1='{0}' x2='{1}' y1='{2:.1f}' y2='{2:.1f}' class='grid'/>"
        "<text x='{3}' y='{4:.1f}' text-anchor='end'>{5:g}</text>",
        kLeft, kWidth - kRight, to_y(tick), kLeft - 6, to_y(tick) + 4, tick);
  }
  for (double tick : axis_ticks(x.low, x.high, 8)) {
    svg += fmt::format("<text x='{:.1f}' y='{}' text-anchor='middle'>{:g}</text>", to_x(tick),
                       kHeight - kBottom + 16, tick);
  }
  return svg;
}

}  // namespace

std::string escape_html(const std::string& text) {
  std::string safe;
  for (char c : text) {
    switch (c) {
      case '&':
        safe += "&amp;";
        break;
      case '<':
        safe += "&lt;";
        break;
      case '>':
        safe += "&gt;";
        break;
      case '"':
        safe += "&quot;";
        break;
      case '\'':
        safe += "&#39;";
        break;
      default:
        safe += c;
    }
  }
  return safe;
}

std::vector<double> axis_ticks(double low, double high, int count) {
  const double raw = (high - low) / std::max(1, count);
  const double magnitude = std::pow(10, std::floor(std::log10(raw)));
  double step = magnitude;
  for (double factor : {1.0, 2.0, 5.0, 10.0}) {
    step = factor * magnitude;
    if (step >= raw) break;
  }
  std::vector<double> ticks;
  for (int64_t i = std::ceil(low / step); i * step <= high; ++i) ticks.push_back(i * step);
  return ticks;
}

std::string line_chart(const std::vector<Series>& series, const std::string& x_label,
                       const std::string& y_label) {
  Range x, y;
  for (const Series& s : series) {
    for (const auto& [px, py] : s.points) {
      if (!std::isfinite(py)) continue;
      x.include(px);
      y.include(py);
    }
  }
  x.widen();
  y.widen();
  auto to_x = [&](double v) { return kLeft + x.share(v) * (kWidth - kLeft - kRight); };
  auto to_y = [&](double v) { return kHeight - kBottom - y.share(v) * (kHeight - kTop - kBottom); };

  std::string svg = fmt::format("<svg viewBox='0 0 {} {}' role='img'>", kWidth, kHeight);
  svg += grid(x, y, to_x, to_y);
  for (size_t i = 0; i < series.size(); ++i) {
    const char* color = kColors[i % std::size(kColors)];
    std::string path;
    bool pen_up = true;
    for (const auto& [px, py] : thin(series[i].points)) {
      if (!std::isfinite(py)) {
        pen_up = true;
        continue;
      }
      path += fmt::format("{}{:.1f} {:.1f}", pen_up ? "M" : "L", to_x(px), to_y(py));
      pen_up = false;
      if (series[i].dots) {
        svg += fmt::format("<circle cx='{:.1f}' cy='{:.1f}' r='3' fill='{}'/>", to_x(px), to_y(py),
                           color);
      }
    }
    svg += fmt::format("<path d='{}' fill='none' stroke='{}' stroke-width='1.6'/>", path, color);
    if (series.size() > 1) {
      svg += fmt::format("<text x='{}' y='{}' style='fill:{}' class='legend'>{}</text>",
                         kWidth - kRight - kLegendWidth * static_cast<double>(series.size() - i),
                         kTop + 10, color, escape_html(series[i].label));
    }
  }
  svg += fmt::format("<text x='{}' y='{}' text-anchor='end' class='axis'>{}</text>",
                     kWidth - kRight, kHeight - 4, escape_html(x_label));
  svg += fmt::format(
      "<text x='12' y='{0}' transform='rotate(-90 12 {0})' text-anchor='middle' "
      "class='axis'>{1}</text>",
      kHeight / 2, escape_html(y_label));
  return svg + "</svg>";
}

}  // namespace wattle
