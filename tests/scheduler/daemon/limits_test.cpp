#include "common/error.h"
#include "scheduler/core/engine/state.h"
#include "tests/scheduler/daemon/daemon_story.h"

// The cap and the budgets, from the cluster file and from operators.

namespace wattle::scheduler {
namespace {

using grpc::StatusCode;
using testing::HasSubstr;

TEST_F(DaemonTest, TheFilesCapCountsAnewWhenItHasChanged) {
  const auto cap_after_start = [this] {
    stop();
    start();
    return daemon_->core().read(
        [this](const Core& core) { return core.state().hard_cap.at(now_); });
  };
  daemon_->core().apply(CapSet{"x", 120, CapTier::kHard, {}, {}});
  EXPECT_EQ(cap_after_start(), 120) << "the file says what it said before";
  cap_watts_ = 150;
  EXPECT_EQ(cap_after_start(), 150);
}

TEST_F(DaemonTest, ACapOfTheFileThatIsRefusedIsNamedWithItsPlace) {
  {
    ScriptedAgent agent(channel_, "node-1");
    agent.await(v1::Command::kRegistered);
  }
  stop();
  cap_watts_ = 3;
  options_.places = {{"cap_watts", "cluster.yaml:4:12"}};
  try {
    start();
    FAIL() << "less than idle devices draw";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kConfig);
    EXPECT_THAT(e.what(), testing::StartsWith("cluster.yaml:4:12: cap_watts: "));
  }
}

TEST_F(DaemonTest, ACapBelowWhatIdles) {
  ScriptedAgent agent(channel_, "node-1");
  agent.await(v1::Command::kRegistered);
  grpc::ClientContext context;
  v1::SetCapRequest request;
  request.set_request_id("c");
  request.set_watts(3);
  v1::SetCapResponse response;
  const grpc::Status status = cluster_->SetCap(&context, request, &response);
  EXPECT_EQ(status.error_code(), StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), HasSubstr("10 W"));
}

TEST_F(DaemonTest, ABudgetIsForATenantThatIsKnownOrForANewOne) {
  const auto set = [&](bool create) {
    grpc::ClientContext context;
    v1::SetBudgetRequest request;
    request.set_tenant("taem-a"), request.set_joules(1e6), request.set_create(create);
    v1::SetBudgetResponse response;
    return cluster_->SetBudget(&context, request, &response);
  };
  ASSERT_TRUE(submit(kYaml).ok());
  const grpc::Status status = set(false);
  EXPECT_EQ(status.error_code(), StatusCode::NOT_FOUND);
  EXPECT_THAT(status.error_message(), HasSubstr("(default), got taem-a; --create makes it"));
  EXPECT_TRUE(set(true).ok());
  EXPECT_TRUE(set(false).ok());
}

}  // namespace
}  // namespace wattle::scheduler
