#pragma once

#include <array>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "energy/accounting/integrator.h"
#include "energy/source.h"

namespace wattle {

/// What a run does at a moment. Evaluation is inference, everything else is training.
enum class Phase {
  kData,
  kForward,
  kBackward,
  kCommunication,
  kOptimizer,
  kCheckpoint,
  kEvaluation,
  kOther,  ///< start-up, and whatever has no window of its own
};
inline constexpr size_t kPhaseCount = 8;

/// "data", "forward", ... as in reports.
std::string_view name_of(Phase phase);

/// Energy and time of one account.
struct Account {
  JoulesBySource joules;
  double seconds = 0;
  Account& operator+=(const Account& other);
};

/// A part of a phase's joules that belongs to one kind of layer ("attention", "mlp").
struct LayerShare {
  std::string kind;
  double share = 0;  ///< of the phase's time
};

/// Where a run's joules went: by phase, by kind of layer within a phase, by device. A plain value:
/// the ranks' ledgers, and those of earlier attempts, add up with +=.
class EnergyLedger {
 public:
  void book(Phase phase, Source source, double joules);
  void book_seconds(Phase phase, double seconds);
  void set_layer_shares(Phase phase, std::vector<LayerShare> shares);
  void set_devices(std::vector<DeviceTotal> devices) { devices_ = std::move(devices); }

  const Account& phase(Phase phase) const { return phases_[static_cast<size_t>(phase)]; }
  /// By (phase, kind of layer). What no share covers stays in the phase alone.
  const std::map<std::pair<Phase, std::string>, Account>& layers() const { return layers_; }
  /// Devices with host and name; one that is in both summands of += appears once, added up.
  const std::vector<DeviceTotal>& devices() const { return devices_; }

  Account training() const;
  Account inference() const { return phase(Phase::kEvaluation); }
  Account run() const;

  /// Adds joules, and the seconds too: for attempts, one after the other. For ranks, which run at
  /// the same time, seconds become seconds of ranks.
  EnergyLedger& operator+=(const EnergyLedger& other);

  /// As JSON text, for checkpoints and reports, and back. Throws Error(kFormat) on other text.
  std::string serialize() const;
  static EnergyLedger parse(const std::string& text);

 private:
  std::array<Account, kPhaseCount> phases_;
  std::array<std::vector<LayerShare>, kPhaseCount> shares_;
  std::map<std::pair<Phase, std::string>, Account> layers_;
  std::vector<DeviceTotal> devices_;
};

}  // namespace wattle
