#pragma once

#include <memory>

namespace grpc {
class Service;
}

namespace wattle::scheduler {

class Daemon;

/// The service for operators (wattle.proto, "Cluster"). `daemon` must outlive it.
std::unique_ptr<grpc::Service> make_cluster_service(Daemon& daemon);

}  // namespace wattle::scheduler
