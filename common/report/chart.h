#pragma once

#include <string>
#include <utility>
#include <vector>

namespace wattle {

/// One line of a chart: points (x, y) in ascending x; points that are not finite break the line.
struct Series {
  std::string label;
  std::vector<std::pair<double, double>> points;
  bool dots = false;  ///< marks each point: for few points, as of evaluations
};

/// A line chart as an SVG element that needs nothing outside itself. Long series are thinned to
/// what the width can show, keeping the extremes of each column.
std::string line_chart(const std::vector<Series>& series, const std::string& x_label,
                       const std::string& y_label);

/// Text made safe inside HTML.
std::string escape_html(const std::string& text);

/// Round values between low and high for an axis, about `count` of them.
std::vector<double> axis_ticks(double low, double high, int count);

}  // namespace wattle
