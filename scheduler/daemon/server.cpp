#include "scheduler/daemon/server.h"

#include <fmt/format.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/codegen/service_type.h>
#include <httplib.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "common/error.h"
#include "scheduler/daemon/daemon.h"
#include "scheduler/daemon/listening/listener.h"
#include "scheduler/daemon/listening/open_files.h"
#include "scheduler/daemon/metrics.h"
#include "scheduler/daemon/services/agent_service.h"
#include "scheduler/daemon/services/cluster_service.h"
#include "scheduler/daemon/services/jobs_service.h"
#include "scheduler/rpc/credentials.h"

namespace wattle::scheduler {
namespace {

constexpr int kKeepaliveMs = 5000;
constexpr int kLeastPingMs = 1000;
/// Until a connection has shown its certificate and spoken HTTP/2; gRPC's own is two minutes.
constexpr int kHandshakeMs = 10'000;

std::pair<std::string, int> split_address(const std::string& address) {
  const size_t colon = address.rfind(':');
  std::string host = address.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  return {host, std::stoi(address.substr(colon + 1))};
}

}  // namespace

struct Server::Parts {
  Daemon& daemon;
  std::unique_ptr<grpc::Service> agents, jobs, cluster;
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> acceptor;
  std::unique_ptr<grpc::Server> server;
  std::unique_ptr<Listener> listener;
  httplib::Server http;
  int metrics_port = 0;
  std::atomic<bool> has_http_ended = false;
  std::thread http_thread;

  explicit Parts(Daemon& daemon)
      : daemon(daemon),
        agents(make_agent_service(daemon)),
        jobs(make_jobs_service(daemon)),
        cluster(make_cluster_service(daemon)) {}

  void listen() {
    const ClusterOptions& options = daemon.options();
    grpc::ServerBuilder builder;
    builder.SetMaxReceiveMessageSize(kMostMessageBytes);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveMs);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, kLeastPingMs);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
    builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, kHandshakeMs);
    using Type = grpc::ServerBuilder::experimental_type::ExternalConnectionType;
    acceptor = builder.experimental().AddExternalConnectionAcceptor(
        Type::FROM_FD, server_credentials(options.security, options.listen));
    for (grpc::Service* service : {agents.get(), jobs.get(), cluster.get()}) {
      builder.RegisterService(service);
    }
    server = builder.BuildAndStart();
    if (!server) {
      throw Error(ErrorCode::kIo, fmt::format("listen: {} can't be served on", options.listen));
    }
    server->GetHealthCheckService()->SetServingStatus(true);
    listener = std::make_unique<Listener>(
        options.listen, most_connections(open_files()), [this](int connection, int listening) {
          grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters taken;
          taken.fd = connection;
          taken.listener_fd = listening;
          acceptor->HandleNewConnection(&taken);
        });
  }

  void listen_for_metrics() {
    const std::string& address = daemon.options().metrics_listen;
    if (address.empty()) return;
    http.Get("/metrics", [this](const httplib::Request&, httplib::Response& response) {
      response.set_content(prometheus_text(daemon), "text/plain; version=0.0.4");
    });
    const auto [host, wanted] = split_address(address);
    metrics_port =
        wanted == 0 ? http.bind_to_any_port(host) : (http.bind_to_port(host, wanted) ? wanted : -1);
    if (metrics_port <= 0) {
      throw Error(ErrorCode::kIo, fmt::format("metrics_listen: {} can't be listened on", address));
    }
    http_thread = std::thread([this] {
      http.listen_after_bind();
      has_http_ended = true;
    });
  }

  /// "" or why nobody can connect any more.
  std::string fault() const {
    const ClusterOptions& options = daemon.options();
    if (const std::string fault = listener->fault(); !fault.empty()) {
      return fmt::format("listen: {}: {}", options.listen, fault);
    }
    if (!has_http_ended) return "";
    return fmt::format("metrics_listen: {}: it is not listened on any more",
                       options.metrics_listen);
  }
};

Server::Server(Daemon& daemon) : parts_(std::make_unique<Parts>(daemon)) {
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  parts_->listen();
  parts_->listen_for_metrics();
}

Server::~Server() {
  parts_->daemon.stop();
  parts_->listener.reset();
  if (parts_->server) {
    parts_->server->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(2));
  }
  parts_->http.stop();
  if (parts_->http_thread.joinable()) parts_->http_thread.join();
}

int Server::port() const { return parts_->listener->port(); }
int Server::metrics_port() const { return parts_->metrics_port; }

void Server::require_listening() const {
  const std::string fault = parts_->fault();
  if (fault.empty()) return;
  const std::string what = fmt::format(
      "nobody can connect any more: {}; start wattled again: jobs go on meanwhile, by their leases",
      fault);
  spdlog::critical("{}", what);
  throw Error(ErrorCode::kIo, what);
}

}  // namespace wattle::scheduler
