#include "scheduler/agent/runs/tails.h"

#include <fstream>

#include "common/error.h"
#include "common/run/metrics.h"

namespace wattle::agent {
namespace {

constexpr size_t kPieceBytes = 1 << 20;
/// A longer line is no record.
constexpr size_t kLongestLine = 1 << 16;

}  // namespace

std::string read_piece(const std::string& path, int64_t offset, size_t most) {
  std::ifstream file(path, std::ios::binary);
  if (!file.seekg(offset)) return "";
  std::string piece(most, '\0');
  file.read(piece.data(), static_cast<std::streamsize>(most));
  piece.resize(static_cast<size_t>(file.gcount()));
  return piece;
}

MetricsTail::MetricsTail(const std::string& output_dir, const MetricsBegin& begin,
                         std::optional<Account> account)
    : float_run_{output_dir + "/float/metrics.jsonl", begin.float_offset},
      run_{output_dir + "/metrics.jsonl", begin.offset},
      float_steps_(begin.float_steps),
      account_(std::move(account)) {}

void MetricsTail::poll() {
  const AsUser as_user(account_);
  read(float_run_, 0);
  read(run_, float_steps_);
}

void MetricsTail::read(File& file, int64_t steps_before) {
  while (true) {
    const std::string piece = read_piece(file.path, file.offset, kPieceBytes);
    if (piece.empty()) return;
    file.offset += static_cast<int64_t>(piece.size());
    file.rest += piece;
    size_t begin = 0;
    for (size_t end; (end = file.rest.find('\n', begin)) != std::string::npos; begin = end + 1) {
      const auto steps = take(file.rest.substr(begin, end - begin), steps_before);
      if (steps && &file == &float_run_) float_steps_ = *steps;
    }
    file.rest.erase(0, begin);
    if (file.rest.size() > kLongestLine) file.rest.assign(kLongestLine, ' ');
  }
}

std::optional<int64_t> MetricsTail::take(const std::string& line, int64_t steps_before) {
  if (line.size() > kLongestLine) return std::nullopt;
  MetricsRecord record;
  try {
    record = MetricsRecord::from_json(line);
  } catch (const Error&) {
    return std::nullopt;
  }
  progress_.newest_line = line;
  if (record.phase != "train") return std::nullopt;
  const int64_t steps = steps_before + record.step;
  progress_.units = static_cast<double>(steps);
  progress_.tokens += static_cast<double>(record.tokens.value_or(0));
  ++steps_since_mark_;
  seconds_since_mark_ += record.step_seconds;
  return steps;
}

void MetricsTail::mark() {
  steps_since_mark_ = 0;
  seconds_since_mark_ = 0;
}

Progress MetricsTail::progress() const {
  Progress progress = progress_;
  if (steps_since_mark_ > 0 && seconds_since_mark_ > 0) {
    progress.units_per_second = static_cast<double>(steps_since_mark_) / seconds_since_mark_;
  }
  return progress;
}

}  // namespace wattle::agent
