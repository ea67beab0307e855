#include "scheduler/daemon/services/submit/submit_request.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "scheduler/daemon/services/calls/caller.h"

namespace wattle::scheduler {
namespace {

using testing::HasSubstr;

/// "" or why a job of this priority is refused.
std::string refusal(Role role, int priority, const std::vector<std::string>& overrides = {}) {
  const Identity caller{Identity::Kind::kUser, "lab", "ada", "team-a", role};
  v1::SubmitRequest request;
  request.set_request_id("x");
  request.set_yaml(fmt::format("job: {{priority: {}}}\n", priority));
  for (const std::string& text : overrides) request.add_overrides(text);
  try {
    check_submission(request, caller, ClusterOptions{});
    return "";
  } catch (const Refusal& refused) {
    EXPECT_EQ(refused.code(), RefusalCode::kPermission);
    return refused.what();
  }
}

TEST(SubmitRequest, BoundsThePriorityByRole) {
  EXPECT_EQ(refusal(Role::kUser, -1000), "");
  EXPECT_EQ(refusal(Role::kUser, 10), "");
  EXPECT_THAT(refusal(Role::kUser, 11), HasSubstr("may give at most 10, got 11"));
  EXPECT_THAT(refusal(Role::kUser, 0, {"job.priority=1000"}), HasSubstr("got 1000"));
  EXPECT_EQ(refusal(Role::kTenantAdmin, 30), "");
  EXPECT_THAT(refusal(Role::kTenantAdmin, 31), HasSubstr("tenant-admin may give at most 30"));
  EXPECT_EQ(refusal(Role::kOperator, 1000), "");
}

TEST(SubmitRequest, ANodeCanBeToldAllOfItAtOnce) {
  const Identity caller{Identity::Kind::kUser, "lab", "ada", "team-a", Role::kUser};
  v1::SubmitRequest request;
  request.set_request_id("x");
  request.set_yaml("job: {}\n");
  const std::string folder(180, 'd');
  const auto add_inputs = [&](int count) {
    for (int i = 0; i < count; ++i) {
      v1::FileRef& file = *request.add_inputs();
      file.set_path(fmt::format("{0}/{0}/{0}/{0}/{0}/{1}", folder, request.inputs_size()));
      file.set_sha256(std::string(64, '0'));
    }
  };
  add_inputs(3000);
  EXPECT_NO_THROW(check_submission(request, caller, ClusterOptions{}));
  add_inputs(300);
  try {
    check_submission(request, caller, ClusterOptions{});
    ADD_FAILURE() << "taken: " << request.ByteSizeLong() << " bytes";
  } catch (const Refusal& refused) {
    EXPECT_EQ(refused.code(), RefusalCode::kInvalid);
    EXPECT_THAT(refused.what(), HasSubstr("names of 3300 inputs"));
  }
}

TEST(SubmitRequest, SaysWhoHandsInAndWhatTheRoleAllows) {
  const auto submitter = [](Role role) {
    v1::SubmitRequest request;
    request.set_request_id("x");
    request.set_yaml("job: {}\n");
    const Identity caller{Identity::Kind::kUser, "lab", "ada", "team-a", role};
    return check_submission(request, caller, ClusterOptions{}).event.submitter;
  };
  const Submitter user = submitter(Role::kUser), admin = submitter(Role::kTenantAdmin);
  EXPECT_EQ(user.user, "ada");
  EXPECT_EQ(user.most_priority, 10);
  EXPECT_EQ(user.most_user_jobs, 20000);
  EXPECT_EQ(admin.most_priority, 30);
  EXPECT_EQ(admin.most_tenant_jobs, 50000);
  const Submitter site = submitter(Role::kOperator);
  EXPECT_EQ(site.most_priority, std::nullopt);
  EXPECT_EQ(site.most_user_jobs + site.most_tenant_jobs, 0);
}

}  // namespace
}  // namespace wattle::scheduler
