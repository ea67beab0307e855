#include "scheduler/agent/files/tails.h"

#include <fstream>

#include "common/error.h"
#include "common/run/metrics.h"
#include "scheduler/agent/files/job_files.h"

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

MetricsTail::MetricsTail(const JobFiles& files, const MetricsBegin& begin,
                         std::optional<Account> account)
    : float_run_{files.float_metrics_file(), begin.float_offset},
      run_{files.metrics_file(), begin.offset},
      float_steps_(begin.float_steps),
      account_(std::move(account)) {}

void MetricsTail::poll() {
  const AsUser as_user(account_);
  read(float_run_);
  read(run_);
}

void MetricsTail::read(File& file) {
  while (true) {
    const std::string piece = read_piece(file.path, file.offset, kPieceBytes);
    if (piece.empty()) return;
    file.offset += static_cast<int64_t>(piece.size());
    file.rest += piece;
    size_t begin = 0;
    for (size_t end; (end = file.rest.find('\n', begin)) != std::string::npos; begin = end + 1) {
      take(file.rest.substr(begin, end - begin), &file == &float_run_);
    }
    file.rest.erase(0, begin);
    if (file.rest.size() > kLongestLine) file.rest.assign(kLongestLine, ' ');
  }
}

void MetricsTail::take(const std::string& line, bool is_float) {
  if (line.size() > kLongestLine) return;
  MetricsRecord record;
  try {
    record = MetricsRecord::from_json(line);
  } catch (const Error&) {
    return;
  }
  progress_.newest_line = line;
  if (record.phase != "train") return;
  if (is_float) float_steps_ = record.step;
  progress_.units = static_cast<double>(is_float ? float_steps_ : float_steps_ + record.step);
  progress_.tokens += static_cast<double>(record.tokens.value_or(0));
  if (is_float) return;
  ++steps_since_mark_;
  seconds_since_mark_ += record.step_seconds;
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
