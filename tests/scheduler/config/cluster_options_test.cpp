#include "scheduler/config/cluster_options.h"

#include <gmock/gmock.h>

#include "common/config/config_file.h"
#include "common/error.h"
#include "tests/support/scratch_folder.h"

namespace wattle::scheduler {
namespace {

using testing::HasSubstr;

constexpr const char* kWhole = R"(listen: 10.0.0.1:7443
state_dir: /var/lib/wattle
tls: {ca: ca.crt, cert: daemon.crt, key: daemon.key}
cap_watts: 2000
policy: {name: backfill}
tenants:
  - {name: team-a, weight: 2, budget_kwh: 1.5, period: 1w}
  - {name: team-b}
)";

class ClusterOptionsTest : public testing::Test {
 protected:
  ClusterOptions read(const std::string& text, const std::vector<std::string>& overrides = {}) {
    return read_cluster_options(folder_.put("cluster.yaml", text), overrides);
  }

  /// What is said of a text, "" if it is taken; and of the whole file with overrides.
  std::string fault_of_whole(const std::vector<std::string>& overrides) {
    return fault(kWhole, overrides);
  }
  std::string fault(const std::string& text, const std::vector<std::string>& overrides = {}) {
    try {
      read(text, overrides);
      return "";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kConfig);
      return e.what();
    }
  }

  ScratchFolder folder_;
};

TEST_F(ClusterOptionsTest, ReadsEveryKeyOfTheDesign) {
  const ClusterOptions options = read(kWhole);
  EXPECT_EQ(options.listen, "10.0.0.1:7443");
  EXPECT_EQ(options.security.tls.key, "daemon.key");
  EXPECT_FALSE(options.security.insecure_loopback);
  EXPECT_EQ(options.cap_watts, 2000);
  EXPECT_EQ(options.policy.name, ClusterPolicyOptions::Name::kBackfill);
  EXPECT_EQ(options.metrics_listen, "127.0.0.1:9443");
  ASSERT_EQ(options.tenants.size(), 2);
  EXPECT_EQ(options.tenants[0].budget_kwh, 1.5);
  EXPECT_EQ(options.tenants[0].period, "1w");
  EXPECT_FALSE(options.tenants[1].budget_kwh.has_value());
}

TEST_F(ClusterOptionsTest, NamesTheLineOfEveryMistakeAtOnce) {
  const std::string what = fault(
      "listen: 127.0.0.1:7443\n"
      "state_dir: s\n"
      "insecure_loopback: true\n"
      "cap_wats: 10\n"
      "policy: {name: fastest}\n");
  EXPECT_THAT(what,
              HasSubstr("cluster.yaml:4:1: cap_wats: unknown key (did you mean 'cap_watts'?)"));
  EXPECT_THAT(what, HasSubstr("cluster.yaml:5:16: policy.name"));
  EXPECT_THAT(what, HasSubstr("cap_watts: is required"));
}

TEST_F(ClusterOptionsTest, ChecksWhatBelongsTogether) {
  EXPECT_EQ(fault_of_whole({}), "");
  EXPECT_THAT(fault_of_whole({"lease_seconds=2", "heartbeat_seconds=1.5"}),
              HasSubstr("heartbeat_seconds"));
  EXPECT_THAT(fault_of_whole({"tenants.1.name=team-a"}),
              HasSubstr("tenants.1.name: team-a is given twice"));
  EXPECT_THAT(fault_of_whole({"tenants.0.period=often"}), HasSubstr("tenants.0.period"));
  EXPECT_THAT(fault_of_whole({"cap_watts=0"}), HasSubstr("cap_watts"));
  EXPECT_THAT(fault_of_whole({"state_dir=\"\""}), HasSubstr("state_dir: is empty"));
  EXPECT_THAT(fault_of_whole({"metrics_listen=here"}),
              HasSubstr("metrics_listen: expected HOST:PORT"));
  EXPECT_EQ(fault_of_whole({"metrics_listen=\"\""}), "");
  EXPECT_THAT(fault_of_whole({"max_priority.user=40"}),
              HasSubstr("max_priority.tenant_admin: expected at least a user's (40), got 30"));
}

TEST_F(ClusterOptionsTest, GoesWithoutTlsOnlyOnLoopbackAndWhenAsked) {
  const std::string bare = "state_dir: s\ncap_watts: 10\n";
  const std::string silent = fault(bare);
  EXPECT_THAT(silent, HasSubstr("tls.ca: is required"));
  EXPECT_THAT(silent, HasSubstr("tls.cert: is required"));
  EXPECT_THAT(silent, HasSubstr("tls.key: is required"));
  EXPECT_EQ(fault(bare + "insecure_loopback: true\n"), "");
  EXPECT_THAT(fault(bare + "insecure_loopback: true\nlisten: 0.0.0.0:7443\n"),
              HasSubstr("insecure_loopback: works on a loopback address alone"));
}

TEST_F(ClusterOptionsTest, ShowsMetricsBeyondLoopbackOnlyWhenAsked) {
  EXPECT_EQ(fault_of_whole({"metrics_listen=\"[::1]:9443\""}), "");
  EXPECT_THAT(fault_of_whole({"metrics_listen=0.0.0.0:9443"}),
              HasSubstr("metrics_listen: 0.0.0.0:9443 is no loopback address"));
  EXPECT_EQ(fault_of_whole({"metrics_listen=0.0.0.0:9443", "insecure_metrics=true"}), "");
}

TEST(LoopbackTest, IsNotFooledByNames) {
  for (const char* here : {"127.0.0.1:1", "127.9.9.9:65535", "localhost:7443", "[::1]:7443"}) {
    EXPECT_TRUE(is_loopback(here)) << here;
  }
  for (const char* elsewhere :
       {"0.0.0.0:1", "[::]:1", "10.0.0.1:1", "127.example.org:1", "127.0.0.1.example.org:1",
        "localhost.example.org:1", "1270.0.0.1:1"}) {
    EXPECT_FALSE(is_loopback(elsewhere)) << elsewhere;
  }
}

TEST(AddressTest, NeedsAHostAndAPort) {
  for (const char* good : {"127.0.0.1:0", "head.lab.example:7443", "[::1]:65535"}) {
    EXPECT_EQ(fault_of_address(good), "") << good;
  }
  for (const char* bad :
       {"", ":1", "host", "host:", "host:x", "host:65536", "host:123456", "host:-1"}) {
    EXPECT_THAT(fault_of_address(bad), HasSubstr("expected HOST:PORT")) << bad;
  }
}

TEST_F(ClusterOptionsTest, APeriodIsWrittenAsOnTheCommandLine) {
  const auto told = [&](const std::string& period) -> std::string {
    try {
      std::string text = kWhole;
      read(text.replace(text.find("period: 1w"), 10, "period: " + period));
      return "";
    } catch (const Error& e) {
      return e.what();
    }
  };
  for (const char* good : {"day", "week", "30d", "12 hours"}) EXPECT_EQ(told(good), "") << good;
  for (const char* bad : {"soon", "0s", "-1d"}) {
    EXPECT_THAT(told(bad), HasSubstr("expected a duration above 0")) << bad;
  }
}

TEST_F(ClusterOptionsTest, WhatIsWrittenReadsBackTheSame) {
  ClusterOptions options = read(kWhole);
  const std::string once = write_config(fields_of(options));
  ClusterOptions again = read(once);
  EXPECT_EQ(write_config(fields_of(again)), once);
  EXPECT_THAT(once, HasSubstr("team-b"));
}

TEST_F(ClusterOptionsTest, KnowsWhereItsKeysStand) {
  const ClusterOptions options = read(kWhole, {"lease_seconds=9"});
  EXPECT_THAT(options.named("cap_watts"), testing::EndsWith("cluster.yaml:4:12: cap_watts"));
  EXPECT_THAT(options.named("tenants.1"), testing::EndsWith("cluster.yaml:8:5: tenants.1"));
  EXPECT_EQ(options.named("lease_seconds"), "--set lease_seconds=9: lease_seconds");
  EXPECT_EQ(options.named("history_days"), "history_days");
}

}  // namespace
}  // namespace wattle::scheduler
