#include "scheduler/core/core.h"

#include <fmt/format.h>

#include <utility>

#include "common/error.h"
#include "common/text.h"
#include "scheduler/core/engine/joule_claims.h"
#include "scheduler/core/engine/state.h"

namespace wattle::scheduler {
namespace {

/// A job's history keeps its newest remarks.
constexpr size_t kMostRemarks = 32;

/// Budgets change, and what is left of them, and the jobs that others wait for, without a word to
/// each job that waits for them.
std::string why_waiting(const State& state, const Job& job) {
  if (job.reason == Reason::kDependency && job.is_dependent) return waits_now(state, job);
  if (job.is_dependent) return job.explanation;
  const double kept = JouleClaims(state, state.now_seconds).before(job);
  const std::string joules = short_of_joules(state, job, kept);
  return joules.empty() ? job.explanation : joules;
}

/// What a job waits for goes to and fro, plan by plan: the same words stand there once.
void drop_last_but_one(std::vector<Remark>& history, const std::string& if_it_says) {
  if (history.size() < 2 || history[history.size() - 2].text != if_it_says) return;
  history.erase(history.end() - 2);
}

}  // namespace

State::State(const CoreOptions& options)
    : options(options),
      policy(make_policy(options.policy)),
      hard_cap(options.cap_watts),
      planned_cap_watts(options.cap_watts) {}

void State::count_unended(const Job& job, int change) {
  const JobRequest& request = job.request;
  const auto count = [&](const std::string& user) {
    int64_t& jobs = unended_jobs[{request.tenant, user}];
    jobs += change;
    if (jobs == 0) unended_jobs.erase({request.tenant, user});
  };
  count("");
  if (!request.user.empty()) count(request.user);
}

Core::Core(const CoreOptions& options) {
  if (!(options.cap_watts > 0)) {
    throw Error(ErrorCode::kConfig,
                fmt::format("cap_watts: expected more than 0, got {}", options.cap_watts));
  }
  state_ = std::make_unique<State>(options);
}

Core::Core(std::unique_ptr<State> state) : state_(std::move(state)) {}

Core::~Core() = default;

std::vector<Decision> Core::apply(const Event& event) {
  if (event.time_seconds < state_->now_seconds) {
    throw Error(ErrorCode::kInternal, fmt::format("scheduler core: time went back from {} to {}",
                                                  state_->now_seconds, event.time_seconds));
  }
  state_->now_seconds = event.time_seconds;
  ++state_->events;
  Decisions out;
  Round round{*state_, out};
  // What a restart says of leases goes before them.
  if (!std::holds_alternative<Restarted>(event.body)) expire_leases(round);
  state_->hard_cap.forget_before(event.time_seconds);
  if (state_->soft_cap) state_->soft_cap->forget_before(event.time_seconds);
  if (state_->joules.roll(event.time_seconds)) state_->note_change();
  std::visit([&](const auto& body) { on(round, body); }, event.body);
  reconcile(round);
  return out;
}

std::optional<std::vector<Decision>> Core::answer_without_change(const Event& event) const {
  return std::visit(
      [&](const auto& body) -> std::optional<Decisions> {
        if constexpr (requires { scheduler::answer_without_change(*state_, body, 0.0); }) {
          return scheduler::answer_without_change(*state_, body, event.time_seconds);
        }
        return std::nullopt;
      },
      event.body);
}

bool Core::is_tick_due(double now_seconds) const {
  return is_expiry_due(*state_, now_seconds) || state_->joules.next_period() <= now_seconds ||
         is_renewal_due(*state_) || is_resend_due(*state_, now_seconds) ||
         is_cap_overdue(*state_, now_seconds) || is_forgetting_due(*state_, now_seconds);
}

bool Core::is_plan_due(double now_seconds) const {
  return scheduler::is_plan_due(*state_, now_seconds);
}

PlanRequest Core::request_plan(double now_seconds) {
  return scheduler::request_plan(*state_, now_seconds);
}

std::string Core::explain(JobId id) const {
  auto found = state_->jobs.find(id);
  if (found == state_->jobs.end()) {
    throw Error(ErrorCode::kConfig, fmt::format("job {}: is unknown", id));
  }
  const Job& job = found->second;
  std::string text = fmt::format("job {} ({}) of {}: {}", id, job.request.name, job.request.tenant,
                                 to_string(job.state));
  if (job.reason != Reason::kNone) text += fmt::format(" ({})", to_string(job.reason));
  if (const std::string why = why_now(*state_, job); !why.empty()) text += ": " + why;
  text += "\n";
  if (auto history = state_->history.find(id); history != state_->history.end()) {
    for (const Remark& remark : history->second) {
      text += fmt::format("  {}  {}\n", time_text(remark.time_seconds), remark.text);
    }
  }
  return text;
}

void Round::decide(JobId job, Decision decision, const std::string& remark) {
  out.push_back(std::move(decision));
  if (job == 0 || remark.empty()) return;
  auto& history = state.history[job];
  if (history.size() >= kMostRemarks) history.erase(history.begin());
  history.push_back({state.now_seconds, remark});
}

void Round::change(Job& job, JobState to, Reason reason, const std::string& why) {
  if (job.state == to && job.reason == reason) return;
  const bool waits_on = job.state == to;
  job.state = to;
  job.reason = reason;
  job.explanation = why;
  if (is_finished(to)) {
    state.count_unended(job, -1);
    job.ended_seconds = state.now_seconds;
    state.waiting.erase(job.id);
  }
  std::string remark = to_string(to);
  if (reason != Reason::kNone) remark += fmt::format(" ({})", to_string(reason));
  if (!why.empty()) remark += ": " + why;
  if (waits_on) drop_last_but_one(state.history[job.id], remark);
  decide(job.id, JobChanged{job.id, to, reason, why}, remark);
  if (!is_finished(to)) return;
  job.kept_bytes += bytes_of_end(state, job);
  state.ended.add(job);
}

std::string why_now(const State& state, const Job& job) {
  if (job.run || is_finished(job.state)) return job.explanation;
  std::string why = why_waiting(state, job);
  const PastRun last = job.last_run.value_or(PastRun{});
  if (last.why.empty() || last.why == why) return why;
  return fmt::format("{}{}its last run ended at {} ({}): {}", why, why.empty() ? "" : "; ",
                     time_text(last.ended_seconds), to_string(last.reason), last.why);
}

const Node* live_node(const State& state, const std::string& name, int64_t epoch) {
  auto found = state.node_by_name.find(name);
  if (found == state.node_by_name.end()) return nullptr;
  const Node& node = state.nodes[found->second];
  return node.state == NodeState::kUp && node.epoch == epoch ? &node : nullptr;
}

Node* live_node(State& state, const std::string& name, int64_t epoch) {
  const Node* node = live_node(std::as_const(state), name, epoch);
  return node ? &state.nodes[node->id] : nullptr;
}

double cap_ahead(const State& state, double now_seconds) {
  return state.hard_cap.lowest(now_seconds, now_seconds + state.options.settle_seconds);
}

double planning_cap(const State& state, double now_seconds) {
  double cap = cap_ahead(state, now_seconds);
  for (const auto& [node, joining] : state.joining) {
    if (now_seconds < joining.until_seconds) cap -= joining.watts;
  }
  return cap;
}

double planning_soft_cap(const State& state, double now_seconds) {
  if (!state.soft_cap) return std::numeric_limits<double>::infinity();
  return state.soft_cap->lowest(now_seconds, now_seconds + state.options.settle_seconds);
}

}  // namespace wattle::scheduler
