#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "launch/wattle/client/client_options.h"
#include "scheduler/rpc/wattle.pb.h"

namespace wattle {

/// A connection to the daemon. Every call below is given up `deadline_seconds` after it began;
/// until then it is tried again while the daemon is unavailable: submits carry a request id, and
/// everything else may be said twice.
///
/// All calls throw Error: kConfig for INVALID_ARGUMENT, kCommunication if no answer came,
/// kUnsupported for every other refusal; the message is the daemon's and says what to do.
class Link;

/// Connects with the first call. Throws Error(kIo) if a file of the certificate can't be read.
std::shared_ptr<Link> connect(const ClientOptions& options);

class JobsClient {
 public:
  explicit JobsClient(std::shared_ptr<Link> link);

  v1::SubmitResponse submit(const v1::SubmitRequest& request);
  /// Sends a local file that will lie at `path` in the job's directory.
  v1::FileRef upload(const std::string& file, const std::string& path);
  /// All pages of the answer.
  std::vector<v1::JobSummary> queue(v1::QueueRequest request);
  v1::JobDetail show(int64_t job);
  std::string explain(int64_t job);
  void cancel(int64_t job);
  /// Hands pieces on as they come. With `follow` it goes on, over restarts of the daemon too, until
  /// the job is finished.
  void logs(const v1::LogsRequest& request, const std::function<void(const std::string&)>& piece);
  /// Hands changes on until `change` returns false, or for about `seconds`: ask then what was
  /// missed. Returns at once if the stream breaks.
  void watch(int64_t job, double seconds, const std::function<bool(const v1::JobSummary&)>& change);

 private:
  std::shared_ptr<Link> link_;
};

class ClusterClient {
 public:
  explicit ClusterClient(std::shared_ptr<Link> link);

  v1::NodesResponse nodes();
  void drain(const std::string& node, bool off);
  void remove_node(const std::string& node, bool force);
  void set_cap(const v1::SetCapRequest& request);
  v1::GetCapResponse cap();
  void set_budget(const v1::SetBudgetRequest& request);
  v1::BudgetsResponse budgets();
  v1::ReportResponse report(const v1::ReportRequest& request);

 private:
  std::shared_ptr<Link> link_;
};

/// Random, for SubmitRequest and SetCapRequest.
std::string new_request_id();

}  // namespace wattle
