#pragma once

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "launch/wattle/certs/authority.h"
#include "launch/wattle/run_wattle.h"
#include "tests/launch/command/fake_daemon.h"
#include "tests/support/scratch_folder.h"

namespace wattle {

struct Outcome {
  int code = 0;
  std::string out, err;
};

inline Outcome run(std::vector<std::string> words) {
  words.insert(words.begin(), "wattle");
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  Outcome outcome;
  outcome.code = run_wattle(words);
  outcome.out = testing::internal::GetCapturedStdout();
  outcome.err = testing::internal::GetCapturedStderr();
  return outcome;
}

inline void make_site(const std::string& folder) {
  make_authority(folder, "lab", 1e6);
  issue_certificate(folder,
                    {{scheduler::Identity::Kind::kDaemon, "", "", "", {}}, {"127.0.0.1"}, 1e5});
  issue_certificate(folder, {{scheduler::Identity::Kind::kUser, "", "ada", "team-a", {}}, {}, 1e5});
}

class Commands : public testing::Test {
 protected:
  Commands() {
    make_site(site());
    daemon_ = std::make_unique<FakeDaemon>(site());
    write("client.yaml", fmt::format("server: {}\ndeadline_seconds: 5\ntls: {{ca: site/ca.crt, "
                                     "cert: site/user-ada.crt, key: site/user-ada.key}}\n",
                                     daemon_->address()));
    setenv("WATTLE_CONFIG", path("client.yaml").c_str(), 1);
  }
  ~Commands() override { unsetenv("WATTLE_CONFIG"); }

  std::string path(const std::string& name) const { return folder_.path(name); }
  std::string site() const { return path("site"); }
  std::string write(const std::string& name, const std::string& text) {
    folder_.put(name, text);
    return path(name);
  }
  v1::JobSummary& add_job(int64_t number, v1::JobState state) {
    v1::JobSummary* job = daemon_->jobs[number].mutable_summary();
    job->set_job(number);
    job->set_name("gpt");
    job->set_tenant("team-a");
    job->set_user("ada");
    job->set_state(state);
    return *job;
  }

  ScratchFolder folder_;
  std::unique_ptr<FakeDaemon> daemon_;
};

}  // namespace wattle
