#pragma once

#include <ctime>
#include <optional>
#include <string>

namespace wattle {

/// What a control file asks for.
struct Control {
  /// The cap from now on; nothing: no cap.
  std::optional<double> power_cap_watts;
};

/// `output_dir/control.json`, by which others steer a run while it trains:
/// {"power_cap_watts": 250}, or null to lift the cap.
///
/// Half-written files are left alone until they are whole; whoever writes one aside and renames it
/// is always read at once. A file that stays cut off is reported. A poll of an unchanged file costs
/// one stat().
class ControlFile {
 public:
  explicit ControlFile(std::string path);

  /// What changed since the last poll; nothing if nothing did. Throws Error(kFormat) once for each
  /// version of the file that is whole but no control file (unknown key, no number, not above 0):
  /// the caller reports it and goes on as before. So does a version that is still no whole JSON
  /// after kPollsToFinish polls.
  std::optional<Control> poll();

  static constexpr int kPollsToFinish = 20;

 private:
  struct Version {
    timespec modified{};
    long long bytes = -1;
    unsigned long long inode = 0;
    bool operator==(const Version& other) const {
      return modified.tv_sec == other.modified.tv_sec &&
             modified.tv_nsec == other.modified.tv_nsec && bytes == other.bytes &&
             inode == other.inode;
    }
  };
  void wait_for_writer(const Version& version);

  std::string path_;
  Version seen_;
  std::string text_;
  Version unreadable_;
  int unreadable_polls_ = 0;
};

}  // namespace wattle
