#include "scheduler/rpc/credentials.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <thread>

#include "common/error.h"
#include "launch/wattle/certs/authority.h"
#include "scheduler/rpc/wattle.grpc.pb.h"
#include "tests/support/scratch_folder.h"

namespace wattle::scheduler {
namespace {

using testing::HasSubstr;

constexpr double kYear = 365 * 86400.0;

/// A service that says who asks.
class WhoAsks : public v1::Jobs::Service {
  grpc::Status Explain(grpc::ServerContext* context, const v1::ExplainRequest*,
                       v1::ExplainResponse* response) override {
    try {
      const Identity who = peer_identity(*context->auth_context());
      response->set_text(who.site == "local" ? "local" : to_spiffe_id(who));
      return grpc::Status::OK;
    } catch (const Error& e) {
      return {grpc::StatusCode::UNAUTHENTICATED, e.what()};
    }
  }
};

class CredentialsTest : public testing::Test {
 protected:
  /// A site's authority with the certificates that a cluster needs.
  void make_site(const std::string& site) {
    make_authority(folder_.path(site), site, kYear);
    issue(site, {Identity::Kind::kDaemon, "", "", "", {}}, {"127.0.0.1"});
    issue(site, {Identity::Kind::kNode, "", "n1", "", {}});
    issue(site, {Identity::Kind::kUser, "", "ada", "team-a", Role::kTenantAdmin});
  }

  void issue(const std::string& site, const Identity& identity,
             const std::vector<std::string>& hosts = {}, double seconds = kYear / 2) {
    IssueRequest request{identity, hosts, seconds};
    request.identity.site = site;
    issue_certificate(folder_.path(site), request);
  }

  LinkSecurity security(const std::string& site, const std::string& certificate) const {
    LinkSecurity security;
    security.tls = {folder_.path(site + "/ca.crt"), folder_.path(site + "/" + certificate + ".crt"),
                    folder_.path(site + "/" + certificate + ".key")};
    return security;
  }

  void serve(const LinkSecurity& security) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", server_credentials(security, "127.0.0.1:0"), &port_);
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    ASSERT_TRUE(server_ && port_ > 0);
  }

  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

  /// Who the server takes the caller for; "refused: …" if it is not even let in.
  std::string ask(const std::shared_ptr<grpc::Channel>& channel) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    v1::ExplainResponse response;
    const grpc::Status status = v1::Jobs::NewStub(channel)->Explain(&context, {}, &response);
    if (status.ok()) return response.text();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE) << status.error_message();
    return "refused: " + status.error_message();
  }

  ScratchFolder folder_;
  WhoAsks service_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

TEST_F(CredentialsTest, TheServerKnowsWhoAsksFromTheCertificate) {
  make_site("lab");
  serve(security("lab", "daemon"));
  EXPECT_EQ(ask(open_channel(address(), security("lab", "user-ada"))),
            "spiffe://lab/tenant/team-a/user/ada/role/tenant-admin");
  EXPECT_EQ(ask(open_channel(address(), security("lab", "node-n1"))), "spiffe://lab/node/n1");
}

TEST_F(CredentialsTest, NobodyElseIsLetIn) {
  make_site("lab");
  make_site("rival");
  serve(security("lab", "daemon"));
  grpc::SslCredentialsOptions nameless;
  nameless.pem_root_certs = folder_.content("lab/ca.crt");
  EXPECT_THAT(ask(grpc::CreateChannel(address(), grpc::SslCredentials(nameless))),
              HasSubstr("refused"));
  EXPECT_THAT(ask(grpc::CreateChannel(address(), grpc::InsecureChannelCredentials())),
              HasSubstr("refused"));
  LinkSecurity stranger = security("rival", "user-ada");
  EXPECT_THAT(ask(open_channel(address(), stranger)), HasSubstr("refused"));
  stranger.tls.ca = security("lab", "user-ada").tls.ca;  // trusts the server, but isn't trusted
  EXPECT_THAT(ask(open_channel(address(), stranger)), HasSubstr("refused"));
  // A server's certificate does not serve as a client's.
  EXPECT_THAT(ask(open_channel(address(), security("lab", "daemon"))), HasSubstr("refused"));
  EXPECT_THAT(ask(open_channel(address(), security("lab", "user-ada"))), HasSubstr("spiffe://"));
}

TEST_F(CredentialsTest, AnExpiredCertificateIsRefused) {
  make_site("lab");
  issue("lab", {Identity::Kind::kUser, "", "late", "team-a", Role::kUser}, {}, 2);
  serve(security("lab", "daemon"));
  const LinkSecurity late = security("lab", "user-late");
  const double end = read_certificate(late.tls.cert).not_after_seconds;
  while (std::chrono::system_clock::now() <=
         std::chrono::system_clock::from_time_t(static_cast<time_t>(end) + 1)) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  EXPECT_THAT(ask(open_channel(address(), late)), HasSubstr("refused"));
}

TEST_F(CredentialsTest, AServerForAnotherHostIsNotTrusted) {
  make_authority(folder_.path("lab"), "lab", kYear);
  issue("lab", {Identity::Kind::kDaemon, "", "", "", {}}, {"head.lab.example"});
  issue("lab", {Identity::Kind::kUser, "", "ada", "team-a", Role::kUser});
  serve(security("lab", "daemon"));
  EXPECT_THAT(ask(open_channel(address(), security("lab", "user-ada"))), HasSubstr("refused"));
}

TEST_F(CredentialsTest, WithoutTlsEveryoneIsTheLocalOperator) {
  LinkSecurity none;
  none.insecure_loopback = true;
  serve(none);
  EXPECT_EQ(ask(open_channel(address(), none)), "local");
}

TEST_F(CredentialsTest, WrongFilesAreNamed) {
  make_site("lab");
  const auto refusal = [](const std::function<void()>& call) -> std::string {
    try {
      call();
      return "taken";
    } catch (const Error& e) {
      return e.what();
    }
  };
  EXPECT_THAT(refusal([&] { server_credentials(security("lab", "user-ada"), "127.0.0.1:0"); }),
              HasSubstr("is not the daemon's"));
  LinkSecurity lost = security("lab", "user-ada");
  lost.tls.key = folder_.path("nowhere.key");
  EXPECT_THAT(refusal([&] { open_channel("127.0.0.1:1", lost); }), HasSubstr("tls.key"));
  const std::string text = folder_.put("no.crt", "no certificate");
  EXPECT_THAT(refusal([&] { certificate_identity(text); }), HasSubstr("is no certificate in PEM"));
  EXPECT_THAT(refusal([&] { certificate_identity(folder_.path("lab/ca.crt")); }),
              HasSubstr("is no identity"));
  LinkSecurity none;
  none.insecure_loopback = true;
  EXPECT_THAT(refusal([&] { server_credentials(none, "0.0.0.0:0"); }), HasSubstr("loopback"));
  EXPECT_THAT(refusal([&] { open_channel("10.0.0.1:7443", none); }), HasSubstr("loopback"));
}

}  // namespace
}  // namespace wattle::scheduler
