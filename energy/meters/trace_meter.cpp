#include "energy/meters/trace_meter.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>
#include <map>
#include <optional>

#include "common/error.h"

namespace wattle {
namespace {

std::string trimmed(const std::string& text) {
  const size_t first = text.find_first_not_of(" \t\r");
  if (first == std::string::npos) return "";
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

std::vector<std::string> cells_of(const std::string& line) {
  std::vector<std::string> cells;
  size_t begin = 0;
  for (size_t comma; (comma = line.find(',', begin)) != std::string::npos; begin = comma + 1) {
    cells.push_back(trimmed(line.substr(begin, comma - begin)));
  }
  cells.push_back(trimmed(line.substr(begin)));
  return cells;
}

std::optional<double> number_of(const std::string& cell) {
  double value = 0;
  const char* end = cell.data() + cell.size();
  const auto [stopped, error] = std::from_chars(cell.data(), end, value);
  if (error != std::errc() || stopped != end) return std::nullopt;
  return value;
}

/// Collects rows by device and says where a row is wrong.
class TraceReader {
 public:
  explicit TraceReader(std::string path) : path_(std::move(path)) {}
  void read_line(const std::string& line);
  std::vector<PowerTrace> finish() &&;

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(ErrorCode::kFormat, fmt::format("{}:{}: {}", path_, line_, what));
  }
  void append(PowerTrace& trace, double seconds, double watts) const;

  std::string path_;
  int line_ = 0;
  bool seen_row_ = false;
  std::map<std::string, PowerTrace> traces_;
};

void TraceReader::append(PowerTrace& trace, double seconds, double watts) const {
  PowerTrace::Point point{seconds, watts, 0, std::isnan(watts)};
  if (!trace.points.empty()) {
    const PowerTrace::Point& last = trace.points.back();
    if (seconds < last.seconds) {
      fail(fmt::format("time falls from {} s to {} s", last.seconds, seconds));
    }
    point.joules = last.joules;
    if (!point.is_hole && !last.is_hole) {
      point.joules += (last.watts + watts) / 2 * (seconds - last.seconds);
    }
  }
  trace.points.push_back(point);
}

void TraceReader::read_line(const std::string& text) {
  ++line_;
  const std::string line = trimmed(text);
  if (line.empty() || line.front() == '#') return;
  const std::vector<std::string> cells = cells_of(line);
  if (!seen_row_ && cells.front() == "seconds") return;
  seen_row_ = true;
  if (cells.size() < 2 || cells.size() > 3) {
    fail(fmt::format("expected seconds,watts[,device], got {} cells", cells.size()));
  }
  const std::optional<double> seconds = number_of(cells[0]);
  if (!seconds || !std::isfinite(*seconds)) fail(fmt::format("'{}' is no time", cells[0]));
  const std::optional<double> watts = cells[1].empty() ? std::nan("") : number_of(cells[1]);
  if (!watts || std::isinf(*watts) || *watts < 0) {
    fail(fmt::format("expected watts of at least 0 (or nothing, for a hole), got '{}'", cells[1]));
  }
  PowerTrace& trace = traces_[cells.size() == 3 ? cells[2] : "0"];
  append(trace, *seconds, *watts);
}

std::vector<PowerTrace> TraceReader::finish() && {
  std::vector<PowerTrace> traces;
  for (auto& [device, trace] : traces_) {
    if (trace.points.size() < 2) fail(fmt::format("device '{}' has fewer than two rows", device));
    trace.device = device;
    traces.push_back(std::move(trace));
  }
  if (traces.empty()) fail("there are no rows of seconds,watts");
  return traces;
}

}  // namespace

std::vector<PowerTrace> read_power_traces(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw Error(ErrorCode::kIo, fmt::format("{}: can't be read", path));
  TraceReader reader(path);
  for (std::string line; std::getline(file, line);) reader.read_line(line);
  if (file.bad()) throw Error(ErrorCode::kIo, fmt::format("{}: reading stopped early", path));
  return std::move(reader).finish();
}

TraceMeter::TraceMeter(PowerTrace trace, Clock& clock)
    : trace_(std::move(trace)), clock_(clock), start_seconds_(clock.now_seconds()) {
  info_.device = "trace:" + trace_.device;
  info_.source = Source::kReplayedTrace;
  info_.is_cheap = true;
}

double TraceMeter::read() {
  const std::vector<PowerTrace::Point>& points = trace_.points;
  const double at = points.front().seconds + clock_.now_seconds() - start_seconds_;
  const auto after =
      std::upper_bound(points.begin(), points.end(), at,
                       [](double t, const PowerTrace::Point& p) { return t < p.seconds; });
  if (after == points.begin()) {
    throw Error(ErrorCode::kIo,
                fmt::format("{}: the clock stepped back before the trace's start", info_.device));
  }
  const PowerTrace::Point& from = *(after - 1);
  if (at == from.seconds && !from.is_hole) return from.joules;
  if (after == points.end()) {
    throw Error(ErrorCode::kIo, fmt::format("{}: the trace ended after {} s", info_.device,
                                            points.back().seconds - points.front().seconds));
  }
  if (from.is_hole || after->is_hole) {
    throw Error(ErrorCode::kIo, fmt::format("{}: the trace has a hole at {} s", info_.device, at));
  }
  const double span = at - from.seconds;
  const double watts =
      from.watts + (after->watts - from.watts) * span / (after->seconds - from.seconds);
  return from.joules + (from.watts + watts) / 2 * span;
}

}  // namespace wattle
