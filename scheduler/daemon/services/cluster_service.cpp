#include "scheduler/daemon/services/cluster_service.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <cmath>

#include "common/text.h"
#include "scheduler/daemon/services/calls/caller.h"
#include "scheduler/daemon/services/views.h"
#include "scheduler/rpc/wattle.grpc.pb.h"

namespace wattle::scheduler {
namespace {

using grpc::ServerContext;
using grpc::Status;

constexpr int kMostRows = 20'000;   ///< of a report: some 2 MB, names apart
constexpr int kReportsPerUser = 2;  ///< on their way at once
constexpr size_t kMostNamed = 10;   ///< tenants in a message

/// The last day that counts: the moment itself does not.
std::string last_day(double until_seconds) { return day_text(until_seconds - 1e-3); }

class ClusterService : public v1::Cluster::Service {
 public:
  explicit ClusterService(Daemon& daemon) : daemon_(daemon) {}

  Status Nodes(ServerContext* context, const v1::NodesRequest*,
               v1::NodesResponse* response) override {
    Caller caller(daemon_, *context, "Nodes");
    return caller.answer([&] {
      caller.require(Role::kUser);
      nodes(caller, *response);
    });
  }

  Status Drain(ServerContext* context, const v1::DrainRequest* request,
               v1::DrainResponse*) override {
    Caller caller(daemon_, *context, "Drain");
    return caller.answer([&] {
      caller.require(Role::kOperator);
      caller.change(scheduler::Drain{request->node(), !request->off()}, request->node(),
                    request->node() + (request->off() ? " off" : ""));
    });
  }

  Status RemoveNode(ServerContext* context, const v1::RemoveNodeRequest* request,
                    v1::RemoveNodeResponse*) override {
    Caller caller(daemon_, *context, "RemoveNode");
    return caller.answer([&] {
      caller.require(Role::kOperator);
      caller.change(NodeRemoved{request->node(), request->force()}, request->node(),
                    request->node() + (request->force() ? " by force" : ""));
    });
  }

  Status SetCap(ServerContext* context, const v1::SetCapRequest* request,
                v1::SetCapResponse*) override {
    Caller caller(daemon_, *context, "SetCap");
    return caller.answer([&] {
      caller.require(Role::kOperator);
      set_cap(caller, *request);
    });
  }

  Status GetCap(ServerContext* context, const v1::GetCapRequest*,
                v1::GetCapResponse* response) override {
    Caller caller(daemon_, *context, "GetCap");
    return caller.answer([&] {
      caller.require(Role::kUser);
      daemon_.core().read([&](const Core& core) {
        const State& state = core.state();
        const double now = daemon_.now();
        fill_caps(state, now, *response);
        response->set_limit_watts(state.ledger.possible_watts());
        response->set_least_watts(state.least_cap_watts);
      });
      response->set_watts(daemon_.agents().watts());
    });
  }

  Status SetBudget(ServerContext* context, const v1::SetBudgetRequest* request,
                   v1::SetBudgetResponse*) override {
    Caller caller(daemon_, *context, "SetBudget");
    return caller.answer([&] {
      caller.require(Role::kOperator);
      set_budget(caller, *request);
    });
  }

  Status Budgets(ServerContext* context, const v1::BudgetsRequest*,
                 v1::BudgetsResponse* response) override {
    Caller caller(daemon_, *context, "Budgets");
    return caller.answer([&] {
      caller.require(Role::kUser);
      daemon_.core().read([&](const Core& core) {
        for (const auto& [name, tenant] : core.state().tenants) {
          if (caller.may_see(name)) fill(core.state().joules, tenant, *response->add_tenants());
        }
      });
    });
  }

  Status Report(ServerContext* context, const v1::ReportRequest* request,
                v1::ReportResponse* response) override {
    Caller caller(daemon_, *context, "Report");
    return caller.answer([&] {
      caller.require(Role::kUser);
      const Places::Place place = caller.place_among(reports_, "reports on their way");
      report(caller, *request, *response);
    });
  }

 private:
  /// Users see the nodes, and of the jobs there only their tenant's: neither what else failed
  /// there.
  void nodes(const Caller& caller, v1::NodesResponse& response) {
    daemon_.core().read([&](const Core& core) {
      for (const Node& node : core.state().nodes) {
        if (node.removed) continue;
        v1::NodeSummary summary = summary_of(core.state(), node);
        google::protobuf::RepeatedField<int64_t> seen;
        for (int64_t job : summary.jobs()) {
          if (caller.may_see(core.state().jobs.at(job).request.tenant)) seen.Add(job);
        }
        summary.mutable_jobs()->Swap(&seen);
        if (!summary.drain_reason().empty() && caller.identity().role != Role::kOperator) {
          summary.set_drain_reason("runs in a row could not be started, or go on");
        }
        *response.add_nodes() = std::move(summary);
      }
    });
    for (v1::NodeSummary& node : *response.mutable_nodes()) {
      const auto reading = daemon_.agents().reading(node.name());
      if (!reading) continue;
      node.set_watts(reading->watts);
      node.set_energy_source(reading->source);
    }
  }

  void set_cap(const Caller& caller, const v1::SetCapRequest& request) {
    CapSet event;
    event.request_id = request.request_id();
    event.watts = request.watts();
    event.tier = request.soft() ? CapTier::kSoft : CapTier::kHard;
    if (request.has_from_time()) event.from_seconds = request.from_time();
    if (request.has_until_time()) event.until_seconds = request.until_time();
    caller.change(
        event, event.request_id,
        fmt::format("{} W{}{}{}", event.watts, request.soft() ? " soft" : "",
                    event.from_seconds ? fmt::format(" from {:.0f}", *event.from_seconds) : "",
                    event.until_seconds ? fmt::format(" until {:.0f}", *event.until_seconds) : ""));
  }

  static void fill_caps(const State& state, double now, v1::GetCapResponse& response) {
    const auto fill = [now](const CapSchedule& caps, auto add_change) {
      for (const CapChange& next : caps.changes_after(now)) {
        v1::GetCapResponse::Change& change = *add_change();
        change.set_time(next.seconds);
        if (std::isfinite(next.watts)) change.set_watts(next.watts);
      }
    };
    response.set_hard_watts(state.hard_cap.at(now));
    fill(state.hard_cap, [&] { return response.add_hard_changes(); });
    if (response.hard_changes_size() > 0) {
      response.set_next_change_time(response.hard_changes(0).time());
      response.set_next_hard_watts(response.hard_changes(0).watts());
    }
    if (!state.soft_cap) return;
    const double soft = state.soft_cap->at(now);
    if (std::isfinite(soft)) response.set_soft_watts(soft);
    fill(*state.soft_cap, [&] { return response.add_soft_changes(); });
  }

  void set_budget(const Caller& caller, const v1::SetBudgetRequest& request) {
    if (request.tenant().empty()) throw Refusal(RefusalCode::kInvalid, "tenant: is empty");
    if (!request.create()) require_known(request.tenant());
    BudgetSet event;
    event.tenant = request.tenant();
    if (request.has_joules()) event.joules = request.joules();
    event.period_seconds = request.period_seconds();
    event.weight = request.weight();
    caller.change(event, event.tenant,
                  fmt::format("{}: {} J", event.tenant,
                              event.joules ? fmt::format("{}", *event.joules) : "unlimited"));
  }

  /// A slip of the pen would leave the tenant that was meant as it was.
  void require_known(const std::string& tenant) {
    std::vector<std::string> known;
    daemon_.core().read([&](const Core& core) {
      for (const auto& [name, _] : core.state().tenants) known.push_back(name);
    });
    if (std::find(known.begin(), known.end(), tenant) != known.end()) return;
    if (known.size() > kMostNamed) known.resize(kMostNamed), known.push_back("...");
    throw Refusal(
        RefusalCode::kNotFound,
        fmt::format("tenant: expected one that is known ({}), got {}; --create makes it",
                    known.empty() ? "none is" : fmt::format("{}", fmt::join(known, ", ")), tenant));
  }

  void report(const Caller& caller, const v1::ReportRequest& request,
              v1::ReportResponse& response) {
    using enum EnergyQuestion::By;
    EnergyQuestion question;
    question.by = request.by() == v1::ReportRequest::TENANT ? kTenant
                  : request.by() == v1::ReportRequest::DAY  ? kDay
                                                            : kJob;
    if (caller.identity().role != Role::kOperator) question.tenant = caller.identity().tenant;
    if (request.has_from_time()) question.from_day = day_text(request.from_time());
    if (request.has_until_time()) question.until_day = last_day(request.until_time());
    daemon_.reports().read(question, [&](const EnergySum& sum) {
      add_sum(sum, response);
      if (response.rows_size() <= kMostRows) return;
      throw Refusal(RefusalCode::kExhausted,
                    fmt::format("the report would have more than {} rows: ask for fewer days, with "
                                "--from and --until, or for a row a tenant or day, with --by",
                                kMostRows));
    });
    if (question.by == kJob) add_names(response);
  }

  void add_names(v1::ReportResponse& response) {
    daemon_.core().read([&](const Core& core) {
      for (v1::ReportRow& row : *response.mutable_rows()) {
        const auto job = core.state().jobs.find(std::stoll(row.key()));
        if (job != core.state().jobs.end()) row.set_name(job->second.request.name);
      }
    });
  }

  static void fill(const JouleLedger& joules, const Tenant& tenant, v1::TenantBudget& budget) {
    budget.set_tenant(tenant.name);
    budget.set_spent_joules(joules.tenant_spent(tenant.name));
    budget.set_weight(tenant.weight);
    const auto given = joules.tenant_budget(tenant.name);
    if (!given) return;
    budget.set_joules(*given);
    budget.set_leased_joules(
        std::max(0.0, *given - budget.spent_joules() - *joules.tenant_left(tenant.name)));
    budget.set_period_end_time(joules.period_end_seconds(tenant.name));
    budget.set_period_seconds(joules.period_seconds(tenant.name));
  }

  Daemon& daemon_;
  Places reports_{kReportsPerUser};
};

}  // namespace

std::unique_ptr<grpc::Service> make_cluster_service(Daemon& daemon) {
  return std::make_unique<ClusterService>(daemon);
}

}  // namespace wattle::scheduler
