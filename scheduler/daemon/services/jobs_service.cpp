#include "scheduler/daemon/services/jobs_service.h"

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include <set>
#include <unordered_map>

#include "common/text.h"
#include "scheduler/daemon/services/calls/caller.h"
#include "scheduler/daemon/services/calls/file_chunks.h"
#include "scheduler/daemon/services/calls/upload_room.h"
#include "scheduler/daemon/services/queue_page.h"
#include "scheduler/daemon/services/submit/submit_request.h"
#include "scheduler/daemon/services/views.h"
#include "scheduler/rpc/wattle.grpc.pb.h"

namespace wattle::scheduler {
namespace {

using grpc::ServerContext;
using grpc::Status;

constexpr size_t kLogPiece = 64 << 10;
/// With 10,000 jobs' names and numbers it is less than a message may be.
constexpr size_t kMostDetailBytes = 1 << 20;
constexpr int kMostShownAfter = 1000;
constexpr size_t kLargeSubmitBytes = 32 << 10;
/// Of one user at the same time.
constexpr int kMostSubmits = 64, kMostLargeSubmits = 8;
constexpr double kPollSeconds = 0.5;

bool is_large(const v1::SubmitRequest& request) {
  size_t bytes = request.yaml().size();
  for (const std::string& text : request.overrides()) bytes += text.size();
  return bytes > kLargeSubmitBytes;
}

v1::Acceptance to_message(const Accepted& accepted) {
  v1::Acceptance message;
  message.set_job(accepted.job);
  message.set_name(accepted.name);
  for (const std::string& text : accepted.overrides) message.add_overrides(text);
  message.set_watts(accepted.watts);
  if (accepted.joules) message.set_joules(*accepted.joules);
  if (accepted.run_seconds) message.set_run_seconds(*accepted.run_seconds);
  if (accepted.start_seconds) message.set_start_time(*accepted.start_seconds);
  message.set_why(accepted.why);
  return message;
}

/// Of a large sweep the later jobs come without their overrides and what is said about them: all
/// of it would be more than a client takes.
class Acceptances {
 public:
  explicit Acceptances(v1::SubmitResponse& response) : response_(response) {}

  void add(const Accepted& accepted) {
    v1::Acceptance& message = *response_.add_jobs();
    message = to_message(accepted);
    detail_bytes_ += message.ByteSizeLong();
    if (detail_bytes_ <= kMostDetailBytes) return;
    message.clear_overrides();
    message.clear_why();
  }

 private:
  v1::SubmitResponse& response_;
  size_t detail_bytes_ = 0;
};

class JobsService : public v1::Jobs::Service {
 public:
  explicit JobsService(Daemon& daemon)
      : daemon_(daemon),
        uploads_(static_cast<int>(daemon.options().uploads_per_user)),
        upload_room_(daemon),
        streams_(static_cast<int>(daemon.options().streams_per_user)),
        submits_(kMostSubmits),
        large_submits_(kMostLargeSubmits) {}

  Status Submit(ServerContext* context, const v1::SubmitRequest* request,
                v1::SubmitResponse* response) override {
    Caller caller(daemon_, *context, "Submit");
    return caller.answer([&] {
      caller.require(Role::kUser);
      daemon_.require_room();
      const Places::Place place = caller.place_among(submits_, "submits on their way");
      std::optional<Places::Place> another;
      if (is_large(*request)) {
        another.emplace(caller.place_among(large_submits_, "large submits on their way"));
      }
      submit(caller, *request, *response);
    });
  }

  Status Upload(ServerContext* context, grpc::ServerReader<v1::FileChunk>* reader,
                v1::FileRef* response) override {
    Caller caller(daemon_, *context, "Upload");
    return caller.answer([&] {
      caller.require(Role::kUser);
      const Places::Place place = caller.place_among(uploads_, "files on their way");
      const std::string& tenant = caller.identity().tenant;
      std::optional<UploadRoom::Share> share;
      *response =
          receive_file(daemon_, *context, *reader, KnownContent::kIsSent,
                       [&](const v1::FileRef& file) { upload_room_.take(share, tenant, file); });
      daemon_.core().read_store(
          [&](Store& store) { store.keep_upload(tenant, to_stored(*response)); });
    });
  }

  Status Queue(ServerContext* context, const v1::QueueRequest* request,
               v1::QueueResponse* response) override {
    Caller caller(daemon_, *context, "Queue");
    return caller.answer([&] {
      caller.require(Role::kUser);
      daemon_.core().read(
          [&](const Core& core) { *response = queue_page(caller, core.state(), *request); });
      add_users(*response->mutable_jobs());
    });
  }

  Status Show(ServerContext* context, const v1::ShowRequest* request,
              v1::JobDetail* response) override {
    Caller caller(daemon_, *context, "Show");
    return caller.answer([&] { show(caller, request->job(), *response); });
  }

  Status Explain(ServerContext* context, const v1::ExplainRequest* request,
                 v1::ExplainResponse* response) override {
    Caller caller(daemon_, *context, "Explain");
    return caller.answer([&] {
      daemon_.core().read([&](const Core& core) {
        caller.job(core.state().jobs, request->job());
        response->set_text(core.explain(request->job()));
      });
    });
  }

  Status Cancel(ServerContext* context, const v1::CancelRequest* request,
                v1::CancelResponse*) override {
    Caller caller(daemon_, *context, "Cancel");
    return caller.answer([&] { cancel(caller, request->job()); });
  }

  Status Logs(ServerContext* context, const v1::LogsRequest* request,
              grpc::ServerWriter<v1::LogPiece>* writer) override {
    Caller caller(daemon_, *context, "Logs");
    return caller.answer([&] {
      const Places::Place place = caller.place_among(streams_, "streams");
      logs(caller, *context, *request, *writer);
    });
  }

  Status Watch(ServerContext* context, const v1::WatchRequest* request,
               grpc::ServerWriter<v1::WatchEvent>* writer) override {
    Caller caller(daemon_, *context, "Watch");
    return caller.answer([&] {
      const Places::Place place = caller.place_among(streams_, "streams");
      watch(caller, *context, *request, *writer);
    });
  }

 private:
  void submit(const Caller& caller, const v1::SubmitRequest& request,
              v1::SubmitResponse& response) {
    CheckedSubmission checked = check_submission(request, caller.identity(), daemon_.options());
    require_inputs(caller, checked.kept);
    const std::string id = checked.event.request_id;
    const double now = daemon_.now();
    const std::vector<Decision> decisions = daemon_.core().apply(
        checked.event, [&](const std::vector<Decision>& decided, const State&, StoreBatch& batch) {
          const bool is_new = std::any_of(decided.begin(), decided.end(), [&](const Decision& d) {
            const auto* accepted = std::get_if<Accepted>(&d);
            return accepted && accepted->request_id == id;
          });
          if (!is_new) return;
          batch.submissions.push_back(checked.kept);
          batch.named.push_back({caller.identity().tenant, checked.kept.inputs});
          batch.audit.push_back({now, caller.name(), "Submit " + brief(id), "accepted"});
        });
    Acceptances acceptances(response);
    for (const Decision& decision : decisions) {
      const auto* refused = std::get_if<Refused>(&decision);
      if (refused && refused->what == id) {
        throw Refusal(refused->is_exhausted ? RefusalCode::kExhausted : RefusalCode::kPrecondition,
                      refused->why);
      }
      const auto* accepted = std::get_if<Accepted>(&decision);
      if (accepted && accepted->request_id == id) acceptances.add(*accepted);
    }
    // The same request once more: the answer is that of the journal.
    if (response.jobs_size() == 0) answer_again(checked.kept, response);
  }

  void answer_again(const Submission& again, v1::SubmitResponse& response) {
    const std::string& id = again.request;
    const std::string first = daemon_.core().read_store(
        [&](Store& store) { return store.submission(id).value_or(Submission{}).digest; });
    const bool is_another = !first.empty() && first != again.digest;
    daemon_.core().read([&](const Core& core) {
      const auto found = core.state().jobs_of_request.find(id);
      if (found == core.state().jobs_of_request.end()) return;
      if (is_another) {
        throw Refusal(
            RefusalCode::kExists,
            fmt::format("request id {}: job {} was handed in under it with something else "
                        "(SHA-256 {}, now {}): what is new takes an id of its own",
                        brief(id), found->second.front(), first.substr(0, 12),
                        again.digest.substr(0, 12)));
      }
      Acceptances acceptances(response);
      for (JobId job : found->second) {
        const auto accepted = acceptance_of(core.state(), job);
        if (accepted) acceptances.add(*accepted);
      }
    });
  }

  void require_inputs(const Caller& caller, const Submission& kept) {
    for (const StoredFile& file : kept.inputs) {
      const bool is_there =
          daemon_.files().renew(file.sha256) && daemon_.core().read_store([&](Store& store) {
            return store.has_sent(caller.identity().tenant, file.sha256);
          });
      if (is_there) continue;
      throw Refusal(RefusalCode::kPrecondition,
                    fmt::format("input '{}' has not been uploaded: send it first", file.path));
    }
  }

  template <class Summaries>
  void add_users(Summaries& jobs) {
    for (v1::JobSummary& job : jobs) job.set_user(user_of(job.job()));
  }

  /// "" of a job that is forgotten.
  std::string user_of(JobId id) {
    const std::string request = daemon_.core().read([&](const Core& core) {
      const auto job = core.state().jobs.find(id);
      return job == core.state().jobs.end() ? "" : job->second.submit_id;
    });
    return daemon_.core().read_store([&](Store& store) { return store.user_of(request); });
  }

  void show(const Caller& caller, JobId id, v1::JobDetail& detail) {
    std::string request;
    Token token = 0;
    daemon_.core().read([&](const Core& core) {
      const Job& job = caller.job(core.state().jobs, id);
      request = job.submit_id;
      token = job.run ? job.run->token : 0;
      *detail.mutable_summary() = summary_of(core.state(), job);
      detail.set_explanation(why_now(core.state(), job));
      for (const JobId other : core.state().dependencies.after(id)) {
        if (detail.after_size() < kMostShownAfter) detail.add_after(std::to_string(other));
      }
      for (const std::string& text : job.request.overrides) detail.add_overrides(text);
      for (int count : job.rank_counts) detail.add_rank_counts(count);
      if (job.request.deadline_seconds) detail.set_deadline_time(*job.request.deadline_seconds);
      if (job.request.energy_budget_joules) {
        detail.set_energy_budget_joules(*job.request.energy_budget_joules);
      }
      detail.set_node_failures(job.node_failures);
      detail.set_start_failures(job.start_failures);
    });
    daemon_.core().read_store([&](Store& store) {
      const Submission kept = store.submission(request).value_or(Submission{});
      detail.mutable_summary()->set_user(kept.user);
      detail.set_yaml(kept.yaml);
      for (const StoredFile& file : kept.inputs) {
        v1::FileRef& ref = *detail.add_inputs();
        ref.set_path(file.path), ref.set_sha256(file.sha256), ref.set_size_bytes(file.size_bytes);
      }
      for (const EnergyRow& row : store.accounts().of_job(id)) {
        v1::SourceJoules& part = *detail.add_energy();
        part.set_source(row.source), part.set_joules(row.joules);
        detail.set_tokens(detail.tokens() + row.tokens);
      }
    });
    detail.set_last_metrics(daemon_.reading(token).metrics);
  }

  void cancel(const Caller& caller, JobId id) {
    daemon_.core().read([&](const Core& core) { caller.job(core.state().jobs, id); });
    if (user_of(id) != caller.identity().name) caller.require(Role::kTenantAdmin);
    const std::string key = std::to_string(id);
    caller.change(scheduler::Cancel{id}, key, "job " + key);
  }

  bool is_over(JobId id) {
    return daemon_.core().read([&](const Core& core) {
      const auto job = core.state().jobs.find(id);
      return job == core.state().jobs.end() || is_finished(job->second.state);
    });
  }

  void logs(const Caller& caller, ServerContext& context, const v1::LogsRequest& request,
            grpc::ServerWriter<v1::LogPiece>& writer) {
    const JobId id = request.job();
    daemon_.core().read([&](const Core& core) { caller.job(core.state().jobs, id); });
    int64_t offset = 0, version = daemon_.changes().version();
    if (request.tail_bytes() > 0) {
      offset = std::max<int64_t>(0, daemon_.logs().total(id) - request.tail_bytes());
    }
    while (!context.IsCancelled() && !daemon_.is_stopping()) {
      const bool is_last = !request.follow() || is_over(id);
      v1::LogPiece piece;
      do {
        piece.set_data(daemon_.logs().read(id, offset, kLogPiece));
        offset += static_cast<int64_t>(piece.data().size());
        if (!piece.data().empty() && !writer.Write(piece)) return;
      } while (!piece.data().empty());
      if (is_last) return;
      version = daemon_.changes().wait(version, kPollSeconds);
    }
    if (daemon_.is_stopping()) throw Refusal(RefusalCode::kUnavailable, "the daemon stops");
  }

  void watch(const Caller& caller, ServerContext& context, const v1::WatchRequest& request,
             grpc::ServerWriter<v1::WatchEvent>& writer) {
    if (request.job() != 0) {
      daemon_.core().read([&](const Core& core) { caller.job(core.state().jobs, request.job()); });
    } else {
      caller.require(Role::kUser);
    }
    std::unordered_map<JobId, std::string> told;
    int64_t version = daemon_.changes().version();
    while (!context.IsCancelled() && !daemon_.is_stopping()) {
      const int64_t before = version;
      version = daemon_.changes().wait(before, kPollSeconds);
      for (v1::JobSummary& job : changed_since(caller, before, request.job(), told)) {
        std::string text = job.SerializeAsString();
        if (told[job.job()] == text) continue;
        told[job.job()] = std::move(text);
        v1::WatchEvent event;
        event.set_time(daemon_.now());
        *event.mutable_job() = std::move(job);
        event.mutable_job()->set_user(user_of(event.job().job()));
        if (!writer.Write(event)) return;
      }
    }
    if (daemon_.is_stopping()) throw Refusal(RefusalCode::kUnavailable, "the daemon stops");
  }

  /// Of the jobs that the caller may see, or only one. If too much has changed to be known, those
  /// that have not ended or were told of.
  std::vector<v1::JobSummary> changed_since(const Caller& caller, int64_t version, JobId only,
                                            const std::unordered_map<JobId, std::string>& told) {
    std::optional<std::set<JobId>> changed = daemon_.changes().since(version);
    std::vector<v1::JobSummary> jobs;
    if (changed && (only == 0 ? changed->empty() : !changed->contains(only))) return jobs;
    daemon_.core().read([&](const Core& core) {
      const State& state = core.state();
      if (only != 0) {
        changed = {only};
      } else if (!changed) {
        changed = state.waiting;
        changed->insert(state.running.begin(), state.running.end());
        for (const auto& [id, text] : told) changed->insert(id);
      }
      for (const JobId id : *changed) {
        const auto job = state.jobs.find(id);
        if (job == state.jobs.end() || !caller.may_see(job->second.request.tenant)) continue;
        jobs.push_back(summary_of(state, job->second));
      }
    });
    return jobs;
  }

  Daemon& daemon_;
  Places uploads_;
  UploadRoom upload_room_;
  Places streams_;
  Places submits_;
  Places large_submits_;  ///< of those, which take memory to read
};

}  // namespace

std::unique_ptr<grpc::Service> make_jobs_service(Daemon& daemon) {
  return std::make_unique<JobsService>(daemon);
}

}  // namespace wattle::scheduler
