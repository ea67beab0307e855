#include "parallel/failure/failure_watch.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <nlohmann/json.hpp>
#include <vector>

#include "common/error.h"

namespace wattle {
namespace {

using namespace std::chrono_literals;

/// How long peers get to become silent before the cause is printed all the same. They are it at
/// once, unless the machine has far more to run than processors.
constexpr auto kSilencePatience = 3s;
/// mpirun reads each rank's output from a pipe of its own: what peers wrote before is through then.
constexpr auto kForwardingPause = 200ms;
/// A silent rank waits for the end of a peer, or of itself by mpirun, no longer than this.
constexpr int kEndPatienceMs = 6000;

std::string utc_now() {
  const time_t now = ::time(nullptr);
  tm parts{};
  ::gmtime_r(&now, &parts);
  char text[32];
  return {text, ::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts)};
}

/// What error.json may take, set aside while the disk still has it. A longer message is cut off
/// on a full disk.
constexpr off_t kReservedBytes = 16 << 10;

/// Writes all of `text`, as far as that is possible.
bool write_all(int fd, const std::string& text) {
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t n = ::write(fd, text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    done += static_cast<size_t>(n);
  }
  return true;
}

/// Sends the standard outputs to nowhere; returns where standard error went before.
int mute() {
  const int standard_error = ::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
  const Descriptor nowhere(::open("/dev/null", O_WRONLY | O_CLOEXEC));
  ::dup2(nowhere.get(), STDOUT_FILENO);
  ::dup2(nowhere.get(), STDERR_FILENO);
  return standard_error;
}

Descriptor checked(int fd, const char* call) {
  if (fd < 0) throw Error(ErrorCode::kIo, std::string(call) + ": " + std::strerror(errno));
  return Descriptor(fd);
}

sigset_t signals_of_the_job() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGUSR1);
  return set;
}

}  // namespace

/// In the part of the memory of each rank of the host; the claim itself in that of the first.
struct FailureWatch::HostClaim {
  std::atomic<int> claimed;  ///< 1 + the job's exit code, or 0
  std::atomic<int> silent;   ///< whether this rank prints no more
};

FailureWatch::FailureWatch(Communicator& world)
    : rank_(world.rank()),
      ranks_(world.size()),
      peers_(PeerProcesses::of(world)),
      host_(split_by_host(world)),
      memory_(host_->share(sizeof(HostClaim))) {
  const sigset_t set = signals_of_the_job();
  signals_ = checked(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK), "signalfd");
  wake_ = checked(::eventfd(0, EFD_CLOEXEC), "eventfd");
  thread_ = std::thread([this] { watch(); });
}

FailureWatch::~FailureWatch() {
  const uint64_t one = 1;
  static_cast<void>(::write(wake_.get(), &one, sizeof(one)) == sizeof(one));
  thread_.join();
  if (has_reserve_) ::unlink(reserve_path().c_str());
}

void FailureWatch::set_output_dir(const std::string& output_dir, bool first_rank) {
  const std::string path = output_dir + "/error.json";
  if (first_rank && ::unlink(path.c_str()) != 0 && errno != ENOENT) {
    throw Error(ErrorCode::kIo, path + ": can't be removed: " + std::strerror(errno));
  }
  std::lock_guard lock(output_dir_mutex_);
  output_dir_ = output_dir;
  if (first_rank) reserve();
}

/// The file that becomes error.json, with room on the disk for it.
void FailureWatch::reserve() {
  const std::string path = reserve_path();
  const Descriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  const int error = file.get() < 0 ? errno : ::posix_fallocate(file.get(), 0, kReservedBytes);
  if (error != 0) {
    throw Error(ErrorCode::kIo, path + ": can't set aside " + std::to_string(kReservedBytes) +
                                    " bytes: " + std::strerror(error));
  }
  has_reserve_ = true;
}

std::string FailureWatch::reserve_path() const { return output_dir_ + "/.error.json"; }

void FailureWatch::watch() {
  std::vector<pollfd> polled = {{wake_.get(), POLLIN, 0}, {signals_.get(), POLLIN, 0}};
  for (const Peer& peer : peers_.peers()) polled.push_back({peer.pidfd.get(), POLLIN, 0});
  while (true) {
    if (::poll(polled.data(), polled.size(), -1) < 0) continue;  // interrupted
    if (polled[0].revents != 0) return;
    for (size_t i = 2; i < polled.size(); ++i) {
      if (polled[i].revents == 0) continue;
      polled[i].fd = -1;  // it stays readable
      on_peer_ended();
    }
    if (polled[1].revents != 0) on_signal();
  }
}

void FailureWatch::on_signal() {
  signalfd_siginfo info;
  while (::read(signals_.get(), &info, sizeof(info)) == sizeof(info)) {
    if (is_claimed()) end_silently();
    stop_requested_ = true;
  }
}

void FailureWatch::on_peer_ended() {
  const Peer* peer = peers_.ended();
  if (peers_may_end_ || peer == nullptr) return;
  if (is_claimed()) end_silently();
  report({"process watch",
          PeerProcesses::describe(*peer) +
              " ended unexpectedly: it was killed, ran out of memory or crashed",
          kExitFailed});
  ::_exit(kExitFailed);
}

FailureWatch::HostClaim& FailureWatch::claim_of(int local_rank) {
  return *reinterpret_cast<HostClaim*>(memory_->part(local_rank).data());
}

bool FailureWatch::is_claimed() { return claim_of(0).claimed != 0; }

bool FailureWatch::take_claim(int exit_code) {
  int none = 0;
  return claim_of(0).claimed.compare_exchange_strong(none, 1 + exit_code);
}

void FailureWatch::report(const FailureCause& cause) {
  std::lock_guard lock(report_mutex_);
  if (!take_claim(cause.exit_code)) end_without_claim();
  // The other threads of this rank are silenced too: the cause is to be the last line.
  const Descriptor standard_error(ranks_ > 1 ? mute() : ::dup(STDERR_FILENO));
  silence_peers();
  if (!write_error_file(cause)) end_without_claim();
  std::string line = cause.bare ? "" : "wattle: ";
  if (!cause.bare && ranks_ > 1) line += "rank " + std::to_string(rank_) + ": ";
  line += (cause.bare ? "" : cause.component + ": ") + cause.message + "\n";
  write_all(standard_error.get(), line);
}

void FailureWatch::silence_peers() {
  for (const Peer& peer : peers_.peers()) {
    ::syscall(SYS_pidfd_send_signal, peer.pidfd.get(), SIGTERM, nullptr, 0);  // or it has ended
  }
  const auto deadline = std::chrono::steady_clock::now() + kSilencePatience;
  const auto is_silent = [&](size_t i) {
    const int local_rank = static_cast<int>(i) + (static_cast<int>(i) >= peers_.local_rank());
    pollfd ended{peers_.peers()[i].pidfd.get(), POLLIN, 0};
    return claim_of(local_rank).silent != 0 || ::poll(&ended, 1, 0) > 0;
  };
  for (size_t i = 0; i < peers_.peers().size(); ++i) {
    while (!is_silent(i) && std::chrono::steady_clock::now() < deadline) {
      std::this_thread::sleep_for(1ms);
    }
  }
  if (!peers_.peers().empty()) std::this_thread::sleep_for(kForwardingPause);
}

/// Whether this is the first cause of the job: the file did not exist, or there is none to be had.
bool FailureWatch::write_error_file(const FailureCause& cause) {
  std::lock_guard lock(output_dir_mutex_);
  if (output_dir_.empty()) return true;
  const std::string path = output_dir_ + "/error.json";
  // Whoever links the reserve, or makes the file where there is no reserve, is the first.
  const bool linked = ::link(reserve_path().c_str(), path.c_str()) == 0;
  if (!linked && errno == EEXIST) return false;
  const int flags = O_WRONLY | O_CLOEXEC | (linked ? 0 : O_CREAT | O_EXCL);
  const Descriptor file(::open(path.c_str(), flags, 0644));
  if (file.get() < 0) return errno != EEXIST;
  const nlohmann::ordered_json content = {{"rank", rank_},
                                          {"component", cause.component},
                                          {"message", cause.message},
                                          {"exit_code", cause.exit_code},
                                          {"time", utc_now()}};
  const auto replace = nlohmann::ordered_json::error_handler_t::replace;
  const std::string text = content.dump(2, ' ', false, replace) + "\n";
  write_all(file.get(), text);
  static_cast<void>(::ftruncate(file.get(), static_cast<off_t>(text.size())) == 0);
  ::unlink(reserve_path().c_str());
  return true;
}

void FailureWatch::end_silently() {
  std::lock_guard lock(report_mutex_);
  end_without_claim();
}

void FailureWatch::end_without_claim() {
  const Descriptor unused(mute());
  claim_of(peers_.local_rank()).silent = 1;
  std::vector<pollfd> polled;
  for (const Peer& peer : peers_.peers()) polled.push_back({peer.pidfd.get(), POLLIN, 0});
  ::poll(polled.data(), polled.size(), kEndPatienceMs);
  ::_exit(claim_of(0).claimed - 1);
}

}  // namespace wattle
