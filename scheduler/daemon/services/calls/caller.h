#pragma once

#include <functional>
#include <map>
#include <stdexcept>
#include <string>

#include "scheduler/core/domain/job.h"
#include "scheduler/core/journal/event.h"
#include "scheduler/daemon/services/calls/places.h"
#include "scheduler/rpc/identity.h"

namespace grpc {
class ServerContextBase;
class Status;
}  // namespace grpc

namespace wattle::scheduler {

class Daemon;
using EventBody = decltype(Event::body);

/// Why a request is refused: the gRPC status codes that the services use, by their numbers.
enum class RefusalCode {
  kInvalid = 3,
  kDeadline = 4,
  kNotFound = 5,
  kExists = 6,
  kPermission = 7,
  kExhausted = 8,
  kPrecondition = 9,
  kUnavailable = 14
};

/// The message says what is wrong and what to do.
class Refusal : public std::runtime_error {
 public:
  Refusal(RefusalCode code, const std::string& message)
      : std::runtime_error(message), code_(code) {}
  RefusalCode code() const { return code_; }

 private:
  RefusalCode code_;
};

/// One call of a service: who calls and what.
class Caller {
 public:
  Caller(Daemon& daemon, const grpc::ServerContextBase& context, std::string method);

  /// Runs what was asked and gives its status: refusals and errors become statuses, and stand in
  /// the audit log, cut to what a log line can be. Throws nothing.
  grpc::Status answer(const std::function<void()>& serve);

  const Identity& identity() const { return identity_; }
  std::string name() const;  ///< "team-a/ada (user)", "node gpu-1"
  /// Throws Refusal(kPermission) unless a user of at least this role calls.
  void require(Role least) const;
  bool may_see(const std::string& tenant) const;
  /// The job if it is there and the caller may see it. Throws Refusal(kNotFound), worded alike in
  /// both cases, so that nobody learns of another tenant's jobs.
  const Job& job(const std::map<JobId, Job>& jobs, JobId id) const;
  /// One of the caller's places. Throws Refusal(kExhausted), naming `what` they are for, if all are
  /// taken.
  Places::Place place_among(Places& places, const char* what) const;
  /// Makes a change, with its record in the audit log in the same transaction. Throws
  /// Refusal(kPrecondition) with the reason if one of the decisions refuses `subject`.
  void change(EventBody event, const std::string& subject, const std::string& what) const;
  /// Writes what has been done into the audit log.
  void audit(const std::string& what, const std::string& outcome) const;

 private:
  Daemon& daemon_;
  std::string method_;
  Identity identity_;
  std::string fault_;  ///< of the certificate
};

}  // namespace wattle::scheduler
