#include "scheduler/daemon/journal/journalled_core.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>

#include "common/error.h"
#include "common/text.h"
#include "scheduler/core/journal/journal.h"
#include "scheduler/daemon/journal/accounts.h"

namespace wattle::scheduler {
namespace {

/// Fewer records than this are replayed faster than a state is kept.
constexpr int64_t kFewRecords = 1000;
/// Of an event in the log.
constexpr size_t kMostEventBytes = 2000;

template <class T>
void append(std::vector<T>& to, std::vector<T>& from) {
  to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
}

}  // namespace

JournalledCore::JournalledCore(Store& store, const CoreOptions& first_options,
                               const JournalLimits& limits,
                               const std::function<double()>& now_seconds, Deliver deliver)
    : JournalledCore(store, restore_core(store.journal(), first_options), limits, now_seconds,
                     std::move(deliver)) {}

JournalledCore::JournalledCore(Store& store, RestoredCore restored, const JournalLimits& limits,
                               const std::function<double()>& now_seconds, Deliver deliver)
    : store_(store),
      clock_(now_seconds, restored.core->state().now_seconds),
      deliver_(std::move(deliver)),
      snapshots_(store, store_mutex_, limits, restored.snapshot),
      core_(std::move(restored.core)) {
  if (restored.snapshot.id == 0) {
    snapshots_.keep(core_->state(), "beginning");
  } else if (!restored.is_kept_by_this_core) {
    snapshots_.keep_soon(std::make_unique<State>(core_->state()), "version");
  } else if (restored.replayed >= kFewRecords) {
    snapshots_.keep_soon(std::make_unique<State>(core_->state()), "start");
  }
  committer_ = std::thread([this] { commit_all(); });
}

JournalledCore::~JournalledCore() {
  {
    const std::lock_guard lock(mutex_);
    is_stopping_ = true;
  }
  pending_.notify_all();
  committer_.join();
  snapshots_.finish();
  if (entries_.empty() && fault_.empty() && halted_.empty()) keep_last_state();
}

/// Another version of the program then has nothing to replay.
void JournalledCore::keep_last_state() {
  if (!snapshots_.has(core_->state().events)) snapshots_.keep_now(core_->state(), "end");
}

int64_t JournalledCore::enqueue(EventBody body, const Attachment& attach,
                                std::vector<Decision>* decisions) {
  if (!halted_.empty()) throw CoreHalted(halted_);
  Event event{now(), std::move(body)};
  const int64_t number = core_->state().events + 1;
  try {
    return take(event, attach, decisions);
  } catch (const std::exception& e) {
    const char* name = std::visit([](const auto& b) { return b.kName; }, event.body);
    halted_ = fmt::format(
        "the scheduler stands still at event {} ({}): {}; start wattled again: it goes on from the "
        "journal, where this event is not",
        number, name, e.what());
    spdlog::critical("{}: {}", halted_, brief(to_line(event), kMostEventBytes));
    throw Error(ErrorCode::kInternal, halted_);
  }
}

/// Copies what can fail before anything of the event counts as taken.
int64_t JournalledCore::take(Event& event, const Attachment& attach,
                             std::vector<Decision>* decisions) {
  std::vector<Decision> decided = core_->apply(event);
  StoreBatch attached;
  if (attach) attach(decided, core_->state(), attached);
  std::vector<EnergyTotal> totals = accounts_of(decided, event.time_seconds);
  append(attached.energy, totals);
  if (decisions) *decisions = decided;
  add(attached);
  entries_.push_back({core_->state().events, event, std::move(decided)});
  pending_.notify_one();
  return ++last_ticket_;
}

void JournalledCore::add(StoreBatch& batch) {
  append(batch_.submissions, batch.submissions);
  append(batch_.named, batch.named);
  append(batch_.energy, batch.energy);
  append(batch_.audit, batch.audit);
  append(batch_.checkpoints, batch.checkpoints);
  append(batch_.node_energy, batch.node_energy);
}

std::vector<Decision> JournalledCore::apply(EventBody body, const Attachment& attach) {
  std::vector<Decision> decisions;
  int64_t ticket = 0;
  {
    const std::lock_guard lock(mutex_);
    if (!halted_.empty()) throw CoreHalted(halted_);
    Event event{now(), std::move(body)};
    if (auto answer = core_->answer_without_change(event)) {
      decisions = std::move(*answer);
      ticket = last_ticket_;  // it may rest on what is not durable yet
    } else {
      ticket = enqueue(std::move(event.body), attach, &decisions);
    }
  }
  wait_for(ticket);
  return decisions;
}

void JournalledCore::post(EventBody body, const Attachment& attach) {
  const std::lock_guard lock(mutex_);
  enqueue(std::move(body), attach, nullptr);
}

void JournalledCore::settle() {
  std::unique_lock lock(mutex_);
  const int64_t ticket = last_ticket_;
  done_.wait(lock, [&] { return done_ticket_ >= ticket || !fault_.empty() || is_stopping_; });
}

void JournalledCore::catch_up() {
  std::unique_lock lock(mutex_);
  await(lock, last_ticket_);
}

void JournalledCore::end_patience() {
  {
    const std::lock_guard lock(mutex_);
    is_patient_ = false;
  }
  done_.notify_all();
}

void JournalledCore::tick() {
  const std::lock_guard lock(mutex_);
  if (core_->is_tick_due(now())) enqueue(Tick{}, {}, nullptr);
}

std::optional<PlanRequest> JournalledCore::plan_request() {
  const std::lock_guard lock(mutex_);
  if (!core_->is_plan_due(now())) return std::nullopt;
  return core_->request_plan(now());
}

void JournalledCore::record(StoreBatch batch, Wait wait) {
  int64_t ticket = 0;
  {
    const std::lock_guard lock(mutex_);
    add(batch);
    ticket = ++last_ticket_;
    pending_.notify_one();
  }
  if (wait == Wait::kUntilDurable) wait_for(ticket);
}

void JournalledCore::await(std::unique_lock<std::mutex>& lock, int64_t ticket) {
  done_.wait(lock, [&] {
    const bool gives_up = is_stopping_ || (!is_patient_ && !fault_.empty());
    return done_ticket_ >= ticket || gives_up;
  });
}

void JournalledCore::wait_for(int64_t ticket) {
  std::unique_lock lock(mutex_);
  await(lock, ticket);
  if (done_ticket_ < ticket) {
    throw Error(ErrorCode::kIo, "the daemon stops; what was asked may or may not be recorded");
  }
}

std::string JournalledCore::store_fault() const {
  const std::lock_guard lock(mutex_);
  return halted_.empty() ? fault_ : halted_;
}

void JournalledCore::require_running() const {
  const std::lock_guard lock(mutex_);
  if (!halted_.empty()) throw CoreHalted(halted_);
}

void JournalledCore::commit_until_done(const StoreBatch& batch) {
  while (true) {
    std::string fault;
    try {
      const std::lock_guard lock(store_mutex_);
      store_.commit(batch);
    } catch (const Error& e) {
      fault = e.what();
    }
    std::unique_lock lock(mutex_);
    if (!fault.empty() && fault_.empty()) spdlog::error("the journal stands still: {}", fault);
    if (fault.empty() && !fault_.empty()) spdlog::info("the journal goes on");
    fault_ = fault;
    if (fault.empty() || is_stopping_) return;
    done_.notify_all();
    pending_.wait_for(lock, std::chrono::milliseconds(500), [this] { return is_stopping_; });
  }
}

void JournalledCore::commit_all() {
  std::unique_lock lock(mutex_);
  while (true) {
    pending_.wait(lock, [this] { return is_stopping_ || done_ticket_ < last_ticket_; });
    if (done_ticket_ == last_ticket_) return;
    const std::vector<Entry> entries = std::exchange(entries_, {});
    StoreBatch batch = std::exchange(batch_, {});
    const int64_t ticket = last_ticket_;
    std::unique_ptr<const State> state;
    if (halted_.empty() && snapshots_.is_due(core_->state().events)) {
      state = std::make_unique<State>(core_->state());
    }
    lock.unlock();
    for (const Entry& entry : entries) {
      batch.records.push_back(
          {entry.number, to_line(entry.event), decision_lines(entry.decisions)});
    }
    commit_until_done(batch);
    lock.lock();
    if (!fault_.empty()) break;
    lock.unlock();
    if (state) snapshots_.keep_soon(std::move(state), "events");
    for (const Entry& entry : entries) deliver_(entry.event, entry.decisions);
    lock.lock();
    done_ticket_ = ticket;
    done_.notify_all();
  }
  done_.notify_all();
}

}  // namespace wattle::scheduler
