#include "scheduler/rpc/identity.h"

#include <gmock/gmock.h>

#include "common/error.h"

namespace wattle::scheduler {
namespace {

using testing::HasSubstr;

std::string refusal(const std::string& id) {
  try {
    parse_spiffe_id(id);
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kFormat) << id;
    return e.what();
  }
  return "taken";
}

TEST(Identity, ReadsWhatItWrites) {
  for (const Identity& identity : {
           Identity{Identity::Kind::kDaemon, "lab", "", "", Role::kUser},
           Identity{Identity::Kind::kNode, "lab.example", "gpu-07", "", Role::kUser},
           Identity{Identity::Kind::kUser, "lab", "Ada_L", "team-a", Role::kUser},
           Identity{Identity::Kind::kUser, "lab", "bob", "team-a", Role::kTenantAdmin},
           Identity{Identity::Kind::kUser, "lab", "eve", "ops", Role::kOperator},
       }) {
    EXPECT_EQ(parse_spiffe_id(to_spiffe_id(identity)), identity) << to_spiffe_id(identity);
  }
}

TEST(Identity, SpellsTheDocumentedForms) {
  EXPECT_EQ(to_spiffe_id({Identity::Kind::kDaemon, "lab", "", "", Role::kUser}),
            "spiffe://lab/daemon");
  EXPECT_EQ(to_spiffe_id({Identity::Kind::kNode, "lab", "n1", "", Role::kUser}),
            "spiffe://lab/node/n1");
  EXPECT_EQ(to_spiffe_id({Identity::Kind::kUser, "lab", "ada", "team-a", Role::kTenantAdmin}),
            "spiffe://lab/tenant/team-a/user/ada/role/tenant-admin");
}

TEST(Identity, RefusesNamesThatCouldMeanSomethingElse) {
  for (const char* name : {"", ".", "..", "a/b", "a b", "a%2fb", "ä", "a\nb"}) {
    EXPECT_THROW(to_spiffe_id({Identity::Kind::kNode, "lab", name, "", Role::kUser}), Error)
        << name;
    EXPECT_THROW(to_spiffe_id({Identity::Kind::kUser, "lab", "ada", name, Role::kUser}), Error)
        << name;
  }
  EXPECT_NO_THROW(
      to_spiffe_id({Identity::Kind::kNode, "lab", std::string(64, 'n'), "", Role::kUser}));
  EXPECT_THROW(to_spiffe_id({Identity::Kind::kNode, "lab", std::string(65, 'n'), "", Role::kUser}),
               Error);
  EXPECT_THROW(to_spiffe_id({Identity::Kind::kDaemon, "Lab", "", "", Role::kUser}), Error);
}

TEST(Identity, RefusesOtherIds) {
  for (const char* id :
       {"", "spiffe://", "spiffe://lab", "spiffe:///daemon", "https://lab/daemon",
        "spiffe://lab/daemon/", "spiffe://lab/Daemon", "spiffe://lab/node/", "spiffe://lab/node/..",
        "spiffe://lab/tenant/t/user/u", "spiffe://lab/tenant//user/u/role/user",
        "spiffe://lab/tenant/t/user/u/role/operator/x", "spiffe://lab:1/daemon"}) {
    EXPECT_THAT(refusal(id), HasSubstr("is no identity")) << id;
  }
  EXPECT_THAT(refusal("spiffe://lab/tenant/t/user/u/role/root"), HasSubstr("tenant-admin"));
}

}  // namespace
}  // namespace wattle::scheduler
