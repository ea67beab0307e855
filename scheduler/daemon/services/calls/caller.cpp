#include "scheduler/daemon/services/calls/caller.h"

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>
#include <spdlog/spdlog.h>

#include "common/error.h"
#include "common/text.h"
#include "scheduler/daemon/daemon.h"
#include "scheduler/rpc/credentials.h"

namespace wattle::scheduler {
namespace {

/// gRPC sends a status among the headers, which have 8 KiB.
constexpr size_t kMostStatusBytes = 2000;

grpc::StatusCode code_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::kConfig:
    case ErrorCode::kFormat:
      return grpc::StatusCode::INVALID_ARGUMENT;
    case ErrorCode::kIo:
      return grpc::StatusCode::RESOURCE_EXHAUSTED;
    default:
      return grpc::StatusCode::INTERNAL;
  }
}

const Refused* refusal_of(const std::vector<Decision>& decisions, const std::string& subject) {
  for (const Decision& decision : decisions) {
    const auto* refused = std::get_if<Refused>(&decision);
    if (refused && refused->what == subject) return refused;
  }
  return nullptr;
}

}  // namespace

Caller::Caller(Daemon& daemon, const grpc::ServerContextBase& context, std::string method)
    : daemon_(daemon), method_(std::move(method)) {
  try {
    identity_ = peer_identity(*context.auth_context());
  } catch (const Error& e) {
    fault_ = e.what();
    identity_.name = "?";
  }
}

grpc::Status Caller::answer(const std::function<void()>& serve) {
  grpc::Status status;
  try {
    if (!fault_.empty()) throw Refusal(RefusalCode::kPermission, fault_);
    serve();
    return grpc::Status::OK;
  } catch (const Refusal& refusal) {
    status = {static_cast<grpc::StatusCode>(refusal.code()), refusal.what()};
  } catch (const CoreHalted& halted) {
    status = {grpc::StatusCode::UNAVAILABLE, halted.what()};
  } catch (const Error& error) {
    status = {code_of(error.code()), error.what()};
  } catch (const std::exception& error) {
    status = {grpc::StatusCode::INTERNAL, error.what()};
  }
  daemon_.note_refusal(name(), method_, brief(status.error_message()));
  return {status.error_code(), cut(status.error_message(), kMostStatusBytes)};
}

std::string Caller::name() const {
  switch (identity_.kind) {
    case Identity::Kind::kDaemon:
      return "daemon";
    case Identity::Kind::kNode:
      return "node " + identity_.name;
    case Identity::Kind::kUser:
      break;
  }
  return fmt::format("{}/{} ({})", identity_.tenant, identity_.name, to_string(identity_.role));
}

void Caller::require(Role least) const {
  if (identity_.kind == Identity::Kind::kUser && identity_.role >= least) return;
  throw Refusal(RefusalCode::kPermission,
                fmt::format("{} may not do this: it takes the role {}", name(), to_string(least)));
}

bool Caller::may_see(const std::string& tenant) const {
  return identity_.kind == Identity::Kind::kUser &&
         (identity_.role == Role::kOperator || identity_.tenant == tenant);
}

const Job& Caller::job(const std::map<JobId, Job>& jobs, JobId id) const {
  const auto found = jobs.find(id);
  if (found == jobs.end() || !may_see(found->second.request.tenant)) {
    throw Refusal(RefusalCode::kNotFound, fmt::format("there is no job {}", id));
  }
  return found->second;
}

Places::Place Caller::place_among(Places& places, const char* what) const {
  if (auto place = places.take(name())) return std::move(*place);
  throw Refusal(RefusalCode::kExhausted,
                fmt::format("{} has {} {} at this moment, which is as many as are taken: wait for "
                            "one of them",
                            name(), places.most(), what));
}

void Caller::change(EventBody event, const std::string& subject, const std::string& what) const {
  const AuditRecord record{daemon_.now(), name(), method_ + " " + brief(what), "done"};
  const auto attach = [&](const std::vector<Decision>& decided, const State&, StoreBatch& batch) {
    if (!refusal_of(decided, subject)) batch.audit.push_back(record);
  };
  const std::vector<Decision> decided = daemon_.core().apply(std::move(event), attach);
  if (const Refused* refused = refusal_of(decided, subject)) {
    throw Refusal(RefusalCode::kPrecondition, refused->why);
  }
  spdlog::info("{}: {}: {}", record.who, record.what, record.outcome);
}

void Caller::audit(const std::string& what, const std::string& outcome) const {
  daemon_.audit(name(), what.empty() ? method_ : method_ + " " + brief(what), brief(outcome));
}

}  // namespace wattle::scheduler
