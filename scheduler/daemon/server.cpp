#include "scheduler/daemon/server.h"

#include <fmt/format.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/codegen/service_type.h>
#include <httplib.h>

#include <chrono>
#include <thread>

#include "common/error.h"
#include "scheduler/daemon/daemon.h"
#include "scheduler/daemon/metrics.h"
#include "scheduler/daemon/services/agent_service.h"
#include "scheduler/daemon/services/cluster_service.h"
#include "scheduler/daemon/services/jobs_service.h"
#include "scheduler/rpc/credentials.h"

namespace wattle::scheduler {
namespace {

constexpr int kKeepaliveMs = 5000;
constexpr int kLeastPingMs = 1000;

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
  std::unique_ptr<grpc::Server> server;
  int port = 0;
  httplib::Server http;
  int metrics_port = 0;
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
    builder.AddListeningPort(options.listen, server_credentials(options.security, options.listen),
                             &port);
    for (grpc::Service* service : {agents.get(), jobs.get(), cluster.get()}) {
      builder.RegisterService(service);
    }
    server = builder.BuildAndStart();
    if (!server || port == 0) {
      throw Error(ErrorCode::kIo, fmt::format("listen: {} can't be listened on", options.listen));
    }
    server->GetHealthCheckService()->SetServingStatus(true);
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
    http_thread = std::thread([this] { http.listen_after_bind(); });
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
  if (parts_->server) {
    parts_->server->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(2));
  }
  parts_->http.stop();
  if (parts_->http_thread.joinable()) parts_->http_thread.join();
}

int Server::port() const { return parts_->port; }
int Server::metrics_port() const { return parts_->metrics_port; }

}  // namespace wattle::scheduler
