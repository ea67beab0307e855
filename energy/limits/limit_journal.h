#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace wattle {

/// What is noted of one GPU whose power limit was changed.
struct LimitNote {
  int pid = 0;
  uint64_t process_start_ticks = 0;  ///< tells a process from a later one with the same id
  uint64_t previous_milliwatts = 0;
  /// The limit in force and the one about to be set: a crash may fall between the two.
  std::vector<uint64_t> set_milliwatts;

  /// Whether the process that wrote the note still runs.
  bool is_owner_alive() const;
  bool is_own() const;
  static LimitNote of_this_process(uint64_t previous_milliwatts);
};

/// Notes, one file a GPU in `folder`, written aside, synced and renamed.
class LimitJournal {
 public:
  explicit LimitJournal(std::string folder) : folder_(std::move(folder)) {}
  /// Throws Error(kFormat) on a file that is no note.
  std::optional<LimitNote> read(const std::string& uuid) const;
  /// Throws Error(kIo) if it can't be made durable.
  void write(const std::string& uuid, const LimitNote& note) const;
  void erase(const std::string& uuid) const;

 private:
  std::string path_of(const std::string& uuid) const;
  std::string folder_;
};

}  // namespace wattle
