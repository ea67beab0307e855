#include "common/run/progress.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cmath>
#include <cstdlib>
#include <string_view>

namespace wattle {
namespace {

constexpr std::chrono::milliseconds kRedraw{100};
constexpr std::chrono::seconds kPlainInterval{10};

std::string figures(const ProgressStatus& s) {
  std::string text = fmt::format("step {}/{}  loss {:.4f}  {:.0f} {}", s.step, s.steps, s.loss,
                                 s.rate, s.rate_unit);
  const char* mark = s.energy_is_estimated ? "~" : "";
  text += s.power_watts ? fmt::format("  {}{:.0f} W", mark, *s.power_watts) : "  watts unavailable";
  if (s.energy_joules) text += "  " + joules_text(*s.energy_joules, s.energy_is_estimated);
  return text + "  " + duration_text(s.seconds_left) + " left";
}

std::string bar(double share, int width) {
  static const char* const kEighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  const int eighths = static_cast<int>(std::lround(std::clamp(share, 0.0, 1.0) * width * 8));
  std::string text;
  for (int i = 0; i < eighths / 8; ++i) text += "█";
  int drawn = eighths / 8;
  if (eighths % 8 != 0) {
    text += kEighths[eighths % 8];
    ++drawn;
  }
  return text + std::string(std::max(0, width - drawn), ' ');
}

}  // namespace

std::string joules_text(double joules, bool estimated) {
  const char* mark = estimated ? "~" : "";
  if (joules < 1e4) return fmt::format("{}{:.0f} J", mark, joules);
  if (joules < 1e6) return fmt::format("{}{:.1f} kJ", mark, joules / 1e3);
  return fmt::format("{}{:.2f} MJ", mark, joules / 1e6);
}

std::string duration_text(double seconds) {
  const int64_t s = std::llround(std::max(0.0, seconds));
  if (s < 3600) return fmt::format("{}:{:02}", s / 60, s % 60);
  return fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
}

std::string plain_line(const ProgressStatus& status) { return figures(status); }

std::string progress_line(const ProgressStatus& status, int width) {
  std::string text = figures(status);
  const int room = width - static_cast<int>(text.size()) - 4;
  if (room < 4) return text.substr(0, std::max(0, width - 1));
  const double share = status.steps > 0 ? static_cast<double>(status.step) / status.steps : 0;
  return "▕" + bar(share, std::min(room, 40)) + "▏ " + text;
}

Progress::Progress(std::ostream& out, int terminal_width) : out_(out), width_(terminal_width) {}

void Progress::update(const ProgressStatus& status) {
  const auto now = std::chrono::steady_clock::now();
  const bool last_step = status.step == status.steps;
  if (width_ == 0) {
    if (status.step > 3 && !last_step && now - last_ < kPlainInterval) return;
    out_ << plain_line(status) << std::endl;
  } else {
    if (drawn_ && !last_step && now - last_ < kRedraw) return;
    out_ << "\r\033[K" << progress_line(status, width_) << std::flush;
    drawn_ = true;
  }
  last_ = now;
}

void Progress::note(const std::string& line) {
  if (drawn_) out_ << "\r\033[K";
  out_ << line << std::endl;
  drawn_ = false;
}

void Progress::finish() {
  if (drawn_) out_ << std::endl;
  drawn_ = false;
}

int terminal_width(int file_descriptor) {
  if (!isatty(file_descriptor)) return 0;
  winsize size{};
  if (ioctl(file_descriptor, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

int width_of_standard_error() {
  if (isatty(STDERR_FILENO) || std::getenv("OMPI_COMM_WORLD_RANK") == nullptr) {
    return terminal_width(STDERR_FILENO);
  }
  // The parent of a rank on mpirun's own host is mpirun; elsewhere it is a daemon without terminal.
  const std::string parents = fmt::format("/proc/{}/fd/{}", getppid(), STDERR_FILENO);
  char target[PATH_MAX];
  const ssize_t length = readlink(parents.c_str(), target, sizeof(target));
  if (length < 0 || !std::string_view(target, length).starts_with("/dev/")) return 0;
  const int terminal = open(parents.c_str(), O_RDONLY | O_NOCTTY | O_CLOEXEC);
  if (terminal < 0) return 0;
  const int width = terminal_width(terminal);
  close(terminal);
  return width;
}

}  // namespace wattle
