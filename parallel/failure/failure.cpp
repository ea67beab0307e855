#include "parallel/failure/failure.h"

#include <c10/util/Exception.h>

#include <chrono>
#include <cstdio>
#include <exception>
#include <thread>

#include "parallel/failure/failure_watch.h"

namespace wattle {
namespace {

using namespace std::chrono_literals;

/// A failed collective may be the echo of a failure elsewhere: that one speaks first if it does so
/// within this time.
constexpr auto kEchoPause = 300ms;

/// What stands in the exception that is being handled.
FailureCause cause_in_flight(const std::string& component) {
  try {
    throw;
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kCommunication) std::this_thread::sleep_for(kEchoPause);
    return {component, error.what(), exit_code(error.code()), error.code() == ErrorCode::kConfig};
  } catch (const c10::Error& error) {
    return {component, error.what_without_backtrace(), kExitFailed};
  } catch (const std::exception& error) {
    return {component, error.what(), kExitFailed};
  } catch (...) {
    return {component, "an exception that is no std::exception", kExitFailed};
  }
}

}  // namespace

FailureGuard::FailureGuard(const MpiSession& session)
    : session_(session), world_(session.world()), watch_(std::make_unique<FailureWatch>(*world_)) {}

FailureGuard::~FailureGuard() = default;

void FailureGuard::set_output_dir(const std::string& output_dir) {
  watch_->set_output_dir(output_dir, world_->rank() == 0);
  world_->barrier();
}

int FailureGuard::run(const std::string& component, const std::function<int()>& body) {
  try {
    const int code = body();
    world_->barrier();  // whoever ends before this has not ended well
    watch_->peers_may_end();
    return code;
  } catch (...) {
    const FailureCause cause = cause_in_flight(component);
    std::fflush(nullptr);
    watch_->report(cause);
    if (world_->size() > 1) session_.abort(cause.exit_code);
    return cause.exit_code;
  }
}

bool FailureGuard::stop_requested() const { return watch_->stop_requested(); }

}  // namespace wattle
