#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "scheduler/rpc/wattle.pb.h"

namespace wattle {

/// A daemon of a few lines behind real gRPC and mutual TLS: it keeps what it was sent and answers
/// what a test put there. The test fills it before the first call.
struct FakeDaemon {
  /// Certificates of `folder` (`ca.crt`, `daemon.crt`, `daemon.key`); any free port of 127.0.0.1,
  /// or the one given.
  explicit FakeDaemon(const std::string& folder, int port = 0);
  ~FakeDaemon();
  std::string address() const;

  int unavailable = 0;  ///< so many calls are refused as UNAVAILABLE first
  std::map<int64_t, v1::JobDetail> jobs;
  std::vector<v1::SubmitRequest> submits;
  std::map<std::string, std::string> files;  ///< path → content
  std::vector<int64_t> cancelled;
  std::string explanation = "it waits for watts";
  std::string log;
  int log_breaks = 0;  ///< so many streams of logs end UNAVAILABLE after half of it
  std::vector<v1::SetCapRequest> caps;
  std::vector<v1::SetBudgetRequest> budgets;
  std::vector<v1::DrainRequest> drains;
  v1::NodesResponse nodes;
  v1::GetCapResponse cap;
  v1::BudgetsResponse tenants;
  v1::ReportResponse report;
  std::vector<v1::ReportRequest> reports;  ///< that were asked for
  std::string refusal;                     ///< of SetCap, as FAILED_PRECONDITION

 private:
  struct Services;
  std::unique_ptr<Services> services_;
};

}  // namespace wattle
