#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <ostream>
#include <string>

namespace wattle {

/// What a progress line shows of a run, all ranks together.
struct ProgressStatus {
  int64_t step = 0;
  int64_t steps = 0;
  double loss = 0;
  double rate = 0;  ///< tokens or samples a second
  const char* rate_unit = "tok/s";
  std::optional<double> power_watts;    ///< mean over the last steps
  std::optional<double> energy_joules;  ///< of the run so far
  bool energy_is_estimated = true;      ///< shown as "~": a model's figure, not a meter's
  double seconds_left = 0;
};

/// One line of at most `width` columns, with a bar that takes what the figures leave.
std::string progress_line(const ProgressStatus& status, int width);
/// The same without a bar, for logs.
std::string plain_line(const ProgressStatus& status);

/// "950 J", "12.4 kJ", "3.21 MJ"; "~" in front if it is an estimate.
std::string joules_text(double joules, bool estimated);
/// "0:42", "12:05", "1:02:05".
std::string duration_text(double seconds);

/// Shows progress on a terminal as one line that is redrawn, elsewhere as plain lines: the first
/// steps, then at most one every ten seconds, and the last.
class Progress {
 public:
  /// `terminal_width` of 0 means plain lines.
  Progress(std::ostream& out, int terminal_width);

  void update(const ProgressStatus& status);
  /// Prints a line of its own above the bar.
  void note(const std::string& line);
  /// Leaves the bar as it is and goes on below it.
  void finish();

 private:
  std::ostream& out_;
  int width_;
  bool drawn_ = false;
  std::chrono::steady_clock::time_point last_{};
};

/// Columns of the terminal behind a file descriptor; 0 if it is none.
int terminal_width(int file_descriptor);

/// Columns of the terminal on which standard error is seen; 0 if it is seen on none. mpirun gives
/// its ranks a pipe and copies what comes to its own standard error: there mpirun's counts.
int width_of_standard_error();

}  // namespace wattle
