#pragma once

namespace wattle::scheduler {

/// Says in the log when the scheduler's time is no longer the machine's (by a second and more: its
/// clock was set), again whenever it is set anew meanwhile, and when that is over.
///
/// One thread.
class ClockWatch {
 public:
  /// What is to be said now.
  enum class Word { kNothing, kIsOff, kIsRight };

  /// Says it. `offset_seconds`: the scheduler's time less the machine's.
  Word look(double offset_seconds);

 private:
  double told_seconds_ = 0;  ///< the offset of the newest warning, as far as it is still there
};

}  // namespace wattle::scheduler
