#pragma once

#include <cstdlib>
#include <memory>
#include <string>

#include "energy/meters/nvml/nvml.h"
#include "tests/support/scratch_folder.h"

namespace wattle {

/// The fake NVML library with a script (see fake_nvml.cpp) in force until the end of the test.
class FakeGpus {
 public:
  explicit FakeGpus(const std::string& script) { restart(script); }
  ~FakeGpus() { unsetenv("WATTLE_FAKE_NVML"); }
  FakeGpus(const FakeGpus&) = delete;
  FakeGpus& operator=(const FakeGpus&) = delete;

  /// Other answers, for the libraries that are opened from now on.
  void restart(const std::string& script) {
    setenv("WATTLE_FAKE_NVML", folder_.put("script", script).c_str(), 1);
  }
  std::shared_ptr<const Nvml> open() const { return std::make_shared<const Nvml>(library()); }
  static std::string library() { return WATTLE_FAKE_NVML; }

 private:
  ScratchFolder folder_;
};

}  // namespace wattle
