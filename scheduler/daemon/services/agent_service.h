#pragma once

#include <memory>

namespace grpc {
class Service;
}

namespace wattle::scheduler {

class Daemon;

/// The service for agents (wattle.proto, "daemon and agents"). `daemon` must outlive it.
std::unique_ptr<grpc::Service> make_agent_service(Daemon& daemon);

}  // namespace wattle::scheduler
