#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>

#include "scheduler/store/database.h"

namespace wattle::scheduler {

/// Which joules, and what they are added up by.
struct EnergyQuestion {
  enum class By { kTenant, kJob, kDay };
  By by = By::kTenant;
  std::optional<std::string> tenant{};  ///< whose; of all if nothing is said
  std::string from_day{}, until_day{};  ///< "2026-11-24", both included; "" leaves an end open
};

/// Joules of one key from one source.
struct EnergySum {
  std::string key;   ///< a tenant, a job's number, a day
  int64_t jobs = 0;  ///< of the key, whatever the source
  std::string source;
  double joules = 0;
  double tokens = 0;
};

/// Adds up the joules of a store's database through a connection that only reads: commits to the
/// store do not wait for it, however long it takes. One report at a time, which others wait for.
///
/// Members may be called from any thread. Throws Error(kIo) as Database does.
class EnergyReports {
 public:
  /// Of a database that a Store has opened, and keeps open for longer.
  explicit EnergyReports(const std::string& path) : database_(path, Database::Access::kRead) {}

  /// Gives every sum, in the order of keys and sources, as they are at one moment.
  void read(const EnergyQuestion& question, const std::function<void(const EnergySum&)>& take);

 private:
  std::mutex mutex_;
  Database database_;
};

}  // namespace wattle::scheduler
