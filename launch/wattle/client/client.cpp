#include "launch/wattle/client/client.h"

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <random>
#include <thread>

#include "common/error.h"
#include "scheduler/digest/sha256.h"
#include "scheduler/rpc/credentials.h"
#include "scheduler/rpc/wattle.grpc.pb.h"

namespace wattle {

using Clock = std::chrono::system_clock;
using Seconds = std::chrono::duration<double>;

class Link {
 public:
  Link(std::shared_ptr<grpc::Channel> channel, const ClientOptions& options)
      : server(options.server),
        deadline_seconds(options.deadline_seconds),
        channel(channel),
        jobs(v1::Jobs::NewStub(channel)),
        cluster(v1::Cluster::NewStub(channel)) {}

  /// For so long, or until there is a connection where there was none. Not asleep then: gRPC makes
  /// one only while somebody waits for it.
  void pause(Seconds most) const {
    const auto until = Clock::now() + std::chrono::duration_cast<Clock::duration>(most);
    if (channel->GetState(true) == GRPC_CHANNEL_READY) {
      std::this_thread::sleep_until(until);
    } else {
      channel->WaitForConnected(until);
    }
  }

  const std::string server;
  const double deadline_seconds;
  const std::shared_ptr<grpc::Channel> channel;
  const std::unique_ptr<v1::Jobs::Stub> jobs;
  const std::unique_ptr<v1::Cluster::Stub> cluster;
};

namespace {

constexpr size_t kChunkBytes = 1 << 20;
constexpr Seconds kFirstPause{0.1}, kLongestPause{1.0};

Clock::time_point in_seconds(double seconds) {
  return Clock::now() + std::chrono::duration_cast<Clock::duration>(Seconds(seconds));
}

/// A handshake that failed will fail again.
bool is_worth_another_try(const grpc::Status& status) {
  return status.error_code() == grpc::StatusCode::UNAVAILABLE &&
         status.error_message().find("andshake failed") == std::string::npos;
}

[[noreturn]] void throw_refusal(const Link& link, const grpc::Status& status) {
  const std::string& reason = status.error_message();
  switch (status.error_code()) {
    case grpc::StatusCode::INVALID_ARGUMENT:
      throw Error(ErrorCode::kConfig, reason);
    case grpc::StatusCode::UNAVAILABLE:
      throw Error(
          ErrorCode::kCommunication,
          fmt::format("{} does not answer: {}. Is wattled running there (--server), and are "
                      "--ca, --cert and --key of its site and not expired (wattle certs "
                      "show)?",
                      link.server, reason));
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      throw Error(ErrorCode::kCommunication,
                  fmt::format("{} did not answer within {} s; --deadline waits longer", link.server,
                              link.deadline_seconds));
    default:
      throw Error(ErrorCode::kUnsupported, reason.empty() ? "refused without a reason" : reason);
  }
}

/// Calls until there is an answer, a refusal, or no time left.
template <class Call>
void call_until_answered(const Link& link, const Call& call) {
  const auto deadline = in_seconds(link.deadline_seconds);
  Seconds pause = kFirstPause;
  while (true) {
    grpc::ClientContext context;
    context.set_deadline(deadline);
    const grpc::Status status = call(context);
    if (status.ok()) return;
    if (!is_worth_another_try(status) || Clock::now() + pause >= deadline) {
      throw_refusal(link, status);
    }
    link.pause(pause);
    pause = std::min(pause * 2, kLongestPause);
  }
}

template <class Response, class Stub, class Request>
Response ask(const Link& link, Stub& stub,
             grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
             const Request& request) {
  Response response;
  call_until_answered(link, [&](grpc::ClientContext& context) {
    response.Clear();
    return (stub.*method)(&context, request, &response);
  });
  return response;
}

/// A file read in chunks, each handed to `take` until that returns false.
template <class Take>
void read_chunks(const std::string& path, const Take& take) {
  std::ifstream file(path, std::ios::binary);
  std::string chunk(kChunkBytes, '\0');
  while (file.good()) {
    file.read(chunk.data(), static_cast<std::streamsize>(kChunkBytes));
    if (file.gcount() > 0 && !take(chunk.substr(0, static_cast<size_t>(file.gcount())))) return;
  }
  if (!file.eof()) throw Error(ErrorCode::kIo, fmt::format("{} can't be read", path));
}

v1::FileRef reference_to(const std::string& file, const std::string& path) {
  scheduler::Sha256 digest;
  int64_t size = 0;
  read_chunks(file, [&](const std::string& chunk) {
    digest.add(chunk);
    size += static_cast<int64_t>(chunk.size());
    return true;
  });
  v1::FileRef reference;
  reference.set_path(path);
  reference.set_size_bytes(size);
  reference.set_sha256(digest.digits());
  return reference;
}

grpc::Status send_file(Link& link, grpc::ClientContext& context, const std::string& file,
                       const v1::FileRef& reference, v1::FileRef& stored) {
  const auto stream = link.jobs->Upload(&context, &stored);
  v1::FileChunk first;
  *first.mutable_file() = reference;
  if (stream->Write(first)) {
    read_chunks(file, [&](const std::string& data) {
      v1::FileChunk chunk;
      chunk.set_data(data);
      return stream->Write(chunk);
    });
  }
  stream->WritesDone();
  return stream->Finish();
}

}  // namespace

std::shared_ptr<Link> connect(const ClientOptions& options) {
  setenv("GRPC_VERBOSITY", "NONE", 0);  // what goes wrong is said once, by the error
  return std::make_shared<Link>(scheduler::open_channel(options.server, options.security), options);
}

JobsClient::JobsClient(std::shared_ptr<Link> link) : link_(std::move(link)) {}

v1::SubmitResponse JobsClient::submit(const v1::SubmitRequest& request) {
  return ask(*link_, *link_->jobs, &v1::Jobs::Stub::Submit, request);
}

v1::FileRef JobsClient::upload(const std::string& file, const std::string& path) {
  if (!std::filesystem::is_regular_file(file)) {
    throw Error(ErrorCode::kConfig, fmt::format("--input: {} is not a file", file));
  }
  const v1::FileRef reference = reference_to(file, path);
  v1::FileRef stored;
  call_until_answered(*link_, [&](grpc::ClientContext& context) {
    return send_file(*link_, context, file, reference, stored);
  });
  return reference;
}

std::vector<v1::JobSummary> JobsClient::queue(v1::QueueRequest request) {
  std::vector<v1::JobSummary> jobs;
  do {
    const auto page = ask(*link_, *link_->jobs, &v1::Jobs::Stub::Queue, request);
    jobs.insert(jobs.end(), page.jobs().begin(), page.jobs().end());
    request.set_after_job(page.next_after_job());
  } while (request.after_job() > 0);
  return jobs;
}

v1::JobDetail JobsClient::show(int64_t job) {
  v1::ShowRequest request;
  request.set_job(job);
  return ask(*link_, *link_->jobs, &v1::Jobs::Stub::Show, request);
}

std::string JobsClient::explain(int64_t job) {
  v1::ExplainRequest request;
  request.set_job(job);
  return ask(*link_, *link_->jobs, &v1::Jobs::Stub::Explain, request).text();
}

void JobsClient::cancel(int64_t job) {
  v1::CancelRequest request;
  request.set_job(job);
  ask(*link_, *link_->jobs, &v1::Jobs::Stub::Cancel, request);
}

void JobsClient::logs(const v1::LogsRequest& request,
                      const std::function<void(const std::string&)>& piece) {
  size_t shown = 0;
  auto give_up = in_seconds(link_->deadline_seconds);
  while (true) {
    grpc::ClientContext context;
    if (!request.follow()) context.set_deadline(give_up);
    const auto stream = link_->jobs->Logs(&context, request);
    size_t passed = 0;
    for (v1::LogPiece got; stream->Read(&got);) {
      const size_t known = std::min(got.data().size(), shown - std::min(shown, passed));
      passed += got.data().size();
      if (known < got.data().size()) piece(got.data().substr(known));
      shown = std::max(shown, passed);
      give_up = in_seconds(link_->deadline_seconds);
    }
    const grpc::Status status = stream->Finish();
    if (status.ok()) return;
    // A tail can't be gone on with: where it began is not known.
    const bool can_go_on = request.tail_bytes() == 0 || shown == 0;
    if (!can_go_on || !is_worth_another_try(status) || Clock::now() >= give_up) {
      throw_refusal(*link_, status);
    }
    link_->pause(kFirstPause);
  }
}

void JobsClient::watch(int64_t job, double seconds,
                       const std::function<bool(const v1::JobSummary&)>& change) {
  grpc::ClientContext context;
  context.set_deadline(in_seconds(seconds));
  v1::WatchRequest request;
  request.set_job(job);
  const auto stream = link_->jobs->Watch(&context, request);
  for (v1::WatchEvent event; stream->Read(&event);) {
    if (!change(event.job())) {
      context.TryCancel();
      break;
    }
  }
  const grpc::Status status = stream->Finish();
  const auto code = status.error_code();
  if (code == grpc::StatusCode::OK || code == grpc::StatusCode::CANCELLED ||
      code == grpc::StatusCode::DEADLINE_EXCEEDED || is_worth_another_try(status)) {
    return;
  }
  throw_refusal(*link_, status);
}

ClusterClient::ClusterClient(std::shared_ptr<Link> link) : link_(std::move(link)) {}

v1::NodesResponse ClusterClient::nodes() {
  return ask(*link_, *link_->cluster, &v1::Cluster::Stub::Nodes, v1::NodesRequest());
}

void ClusterClient::drain(const std::string& node, bool off) {
  v1::DrainRequest request;
  request.set_node(node);
  request.set_off(off);
  ask(*link_, *link_->cluster, &v1::Cluster::Stub::Drain, request);
}

void ClusterClient::remove_node(const std::string& node, bool force) {
  v1::RemoveNodeRequest request;
  request.set_node(node);
  request.set_force(force);
  ask(*link_, *link_->cluster, &v1::Cluster::Stub::RemoveNode, request);
}

void ClusterClient::set_cap(const v1::SetCapRequest& request) {
  ask(*link_, *link_->cluster, &v1::Cluster::Stub::SetCap, request);
}

v1::GetCapResponse ClusterClient::cap() {
  return ask(*link_, *link_->cluster, &v1::Cluster::Stub::GetCap, v1::GetCapRequest());
}

void ClusterClient::set_budget(const v1::SetBudgetRequest& request) {
  ask(*link_, *link_->cluster, &v1::Cluster::Stub::SetBudget, request);
}

v1::BudgetsResponse ClusterClient::budgets() {
  return ask(*link_, *link_->cluster, &v1::Cluster::Stub::Budgets, v1::BudgetsRequest());
}

v1::ReportResponse ClusterClient::report(const v1::ReportRequest& request) {
  return ask(*link_, *link_->cluster, &v1::Cluster::Stub::Report, request);
}

std::string new_request_id() {
  std::random_device random;
  return fmt::format("{:08x}-{:08x}-{:08x}-{:08x}", random(), random(), random(), random());
}

}  // namespace wattle
