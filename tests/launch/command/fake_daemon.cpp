#include "tests/launch/command/fake_daemon.h"

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include <fstream>
#include <sstream>

#include "scheduler/rpc/wattle.grpc.pb.h"

namespace wattle {
namespace {

using grpc::ServerContext;
using grpc::Status;
using grpc::StatusCode;

std::string read(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

Status unavailable() { return {StatusCode::UNAVAILABLE, "starting"}; }

class FakeJobs : public v1::Jobs::Service {
 public:
  explicit FakeJobs(FakeDaemon& daemon) : daemon_(daemon) {}

  Status Submit(ServerContext*, const v1::SubmitRequest* request,
                v1::SubmitResponse* response) override {
    daemon_.submits.push_back(*request);
    if (daemon_.unavailable-- > 0) return unavailable();
    if (request->yaml().find("ranks: {min: 999}") != std::string::npos) {
      return {StatusCode::INVALID_ARGUMENT, "no node has 999 devices"};
    }
    auto* job = response->add_jobs();
    job->set_job(7);
    job->set_name("tiny");
    job->set_watts(120);
    job->set_joules(3600);
    job->set_why("first in the queue");
    if (request->yaml().find("sweep") == std::string::npos) return Status::OK;
    auto* later = response->add_jobs();
    *later = *job;
    later->set_job(8);
    job->set_start_time(1);
    later->set_why("the first one draws what the cap leaves");
    return Status::OK;
  }

  Status Upload(ServerContext*, grpc::ServerReader<v1::FileChunk>* reader,
                v1::FileRef* stored) override {
    std::string content;
    for (v1::FileChunk chunk; reader->Read(&chunk);) {
      if (chunk.has_file()) *stored = chunk.file();
      content += chunk.data();
    }
    daemon_.files[stored->path()] = content;
    return Status::OK;
  }

  /// Two jobs a page.
  Status Queue(ServerContext*, const v1::QueueRequest* request,
               v1::QueueResponse* response) override {
    for (const auto& [number, job] : daemon_.jobs) {
      if (number <= request->after_job()) continue;
      if (response->jobs_size() == 2) {
        response->set_next_after_job(response->jobs(1).job());
        break;
      }
      *response->add_jobs() = job.summary();
    }
    return Status::OK;
  }

  Status Show(ServerContext*, const v1::ShowRequest* request, v1::JobDetail* response) override {
    if (daemon_.unavailable-- > 0) return unavailable();
    const auto found = daemon_.jobs.find(request->job());
    if (found == daemon_.jobs.end()) {
      return {StatusCode::NOT_FOUND, fmt::format("there is no job {}", request->job())};
    }
    *response = found->second;
    return Status::OK;
  }

  Status Explain(ServerContext*, const v1::ExplainRequest*, v1::ExplainResponse* out) override {
    out->set_text(daemon_.explanation);
    return Status::OK;
  }

  Status Cancel(ServerContext*, const v1::CancelRequest* request, v1::CancelResponse*) override {
    if (!daemon_.jobs.contains(request->job()))
      return {StatusCode::NOT_FOUND, fmt::format("there is no job {}", request->job())};
    daemon_.cancelled.push_back(request->job());
    return Status::OK;
  }

  Status Logs(ServerContext*, const v1::LogsRequest*,
              grpc::ServerWriter<v1::LogPiece>* writer) override {
    const bool breaks = daemon_.log_breaks-- > 0;
    const size_t end = breaks ? daemon_.log.size() / 2 : daemon_.log.size();
    for (size_t i = 0; i < end; i += 3) {
      v1::LogPiece piece;
      piece.set_data(daemon_.log.substr(i, std::min<size_t>(3, end - i)));
      writer->Write(piece);
    }
    return breaks ? unavailable() : Status::OK;
  }

  /// Every job goes on to COMPLETED when it is watched.
  Status Watch(ServerContext*, const v1::WatchRequest*,
               grpc::ServerWriter<v1::WatchEvent>* writer) override {
    for (auto& [number, job] : daemon_.jobs) {
      if (job.summary().state() == v1::JOB_STATE_PENDING) {
        job.mutable_summary()->set_state(v1::JOB_STATE_COMPLETED);
      }
      v1::WatchEvent event;
      *event.mutable_job() = job.summary();
      writer->Write(event);
    }
    return Status::OK;
  }

 private:
  FakeDaemon& daemon_;
};

class FakeCluster : public v1::Cluster::Service {
 public:
  explicit FakeCluster(FakeDaemon& daemon) : daemon_(daemon) {}

  Status Nodes(ServerContext*, const v1::NodesRequest*, v1::NodesResponse* response) override {
    *response = daemon_.nodes;
    return Status::OK;
  }
  Status Drain(ServerContext*, const v1::DrainRequest* request, v1::DrainResponse*) override {
    daemon_.drains.push_back(*request);
    return Status::OK;
  }
  Status SetCap(ServerContext*, const v1::SetCapRequest* request, v1::SetCapResponse*) override {
    if (!daemon_.refusal.empty()) return {StatusCode::FAILED_PRECONDITION, daemon_.refusal};
    daemon_.caps.push_back(*request);
    return Status::OK;
  }
  Status GetCap(ServerContext*, const v1::GetCapRequest*, v1::GetCapResponse* response) override {
    *response = daemon_.cap;
    return Status::OK;
  }
  Status SetBudget(ServerContext*, const v1::SetBudgetRequest* request,
                   v1::SetBudgetResponse*) override {
    daemon_.budgets.push_back(*request);
    return Status::OK;
  }
  Status Budgets(ServerContext*, const v1::BudgetsRequest*, v1::BudgetsResponse* out) override {
    *out = daemon_.tenants;
    return Status::OK;
  }
  Status Report(ServerContext*, const v1::ReportRequest* request,
                v1::ReportResponse* response) override {
    daemon_.reports.push_back(*request);
    *response = daemon_.report;
    return Status::OK;
  }

 private:
  FakeDaemon& daemon_;
};

std::shared_ptr<grpc::ServerCredentials> server_credentials(const std::string& folder) {
  grpc::SslServerCredentialsOptions options(
      GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  options.pem_root_certs = read(folder + "/ca.crt");
  options.pem_key_cert_pairs.push_back(
      {read(folder + "/daemon.key"), read(folder + "/daemon.crt")});
  return grpc::SslServerCredentials(options);
}

}  // namespace

struct FakeDaemon::Services {
  explicit Services(FakeDaemon& daemon) : jobs(daemon), cluster(daemon) {}
  FakeJobs jobs;
  FakeCluster cluster;
  int port = 0;
  std::unique_ptr<grpc::Server> server;
};

FakeDaemon::FakeDaemon(const std::string& folder, int port)
    : services_(std::make_unique<Services>(*this)) {
  grpc::ServerBuilder builder;
  builder.AddListeningPort(fmt::format("127.0.0.1:{}", port), server_credentials(folder),
                           &services_->port);
  builder.RegisterService(&services_->jobs);
  builder.RegisterService(&services_->cluster);
  services_->server = builder.BuildAndStart();
}

FakeDaemon::~FakeDaemon() { services_->server->Shutdown(); }

std::string FakeDaemon::address() const { return fmt::format("127.0.0.1:{}", services_->port); }

}  // namespace wattle
