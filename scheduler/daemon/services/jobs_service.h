#pragma once

#include <memory>

namespace grpc {
class Service;
}

namespace wattle::scheduler {

class Daemon;

/// The service for users (wattle.proto, "Jobs"). `daemon` must outlive it.
std::unique_ptr<grpc::Service> make_jobs_service(Daemon& daemon);

}  // namespace wattle::scheduler
