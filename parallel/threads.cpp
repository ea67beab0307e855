#include "parallel/threads.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <map>
#include <set>
#include <string_view>

#include "common/error.h"
#include "parallel/failure/peer_processes.h"

namespace wattle {
namespace {

/// The masks of all ranks of the host, by rank.
std::vector<std::vector<int>> exchange_masks(Communicator& host, const std::vector<int>& mine) {
  at::Tensor bits = at::zeros({CPU_SETSIZE}, at::kByte);
  for (int core : mine) bits.data_ptr<uint8_t>()[core] = 1;
  at::Tensor all = at::empty({host.size(), CPU_SETSIZE}, at::kByte);
  host.all_gather(bits, all);
  std::vector<std::vector<int>> masks(host.size());
  for (int rank = 0; rank < host.size(); ++rank) {
    const uint8_t* row = all.data_ptr<uint8_t>() + rank * CPU_SETSIZE;
    for (int core = 0; core < CPU_SETSIZE; ++core) {
      if (row[core] != 0) masks[rank].push_back(core);
    }
  }
  return masks;
}

int64_t threads_from_environment() {
  const char* text = std::getenv("OMP_NUM_THREADS");
  if (text == nullptr) return 0;
  int64_t threads = 0;
  const char* end = text + std::strlen(text);
  const auto [stop, error] = std::from_chars(text, end, threads);
  if (error != std::errc() || stop != end || threads < 1) {
    throw Error(ErrorCode::kConfig,
                std::string("OMP_NUM_THREADS: expected a number above 0, got '") + text + "'");
  }
  return threads;
}

void pin_to(const std::vector<int>& cores) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (int core : cores) CPU_SET(core, &set);
  if (::sched_setaffinity(0, sizeof(set), &set) != 0) {
    throw Error(ErrorCode::kIo, std::string("sched_setaffinity: ") + std::strerror(errno));
  }
}

std::string in_words(int64_t threads, const CoreShare& share, bool pinned) {
  std::string text = std::to_string(threads) + (threads == 1 ? " thread" : " threads");
  text += pinned ? ", pinned to" : " on";
  text += share.cores.size() == 1 ? " core" : " cores";
  for (size_t i = 0; i < share.cores.size(); ++i) {
    text += (i == 0 ? " " : ", ") + std::to_string(share.cores[i]);
  }
  return share.exclusive ? text : text + " (shared with other ranks)";
}

}  // namespace

std::vector<CoreShare> deal_cores(const std::vector<std::vector<int>>& masks) {
  std::map<int, int> ranks_of_core;
  for (const auto& mask : masks) {
    for (int core : mask) ++ranks_of_core[core];
  }
  std::set<int> taken;
  std::map<int, int> users;
  std::vector<CoreShare> shares(masks.size());
  for (size_t rank = 0; rank < masks.size(); ++rank) {
    double quota = 1e-6;  // against rounding of thirds
    for (int core : masks[rank]) quota += 1.0 / ranks_of_core[core];
    for (int core : masks[rank]) {
      const bool wants = shares[rank].cores.size() + 1 <= static_cast<size_t>(std::max(1.0, quota));
      if (wants && taken.insert(core).second) shares[rank].cores.push_back(core);
    }
    if (shares[rank].cores.empty()) {
      shares[rank].cores.push_back(
          *std::min_element(masks[rank].begin(), masks[rank].end(),
                            [&](int a, int b) { return users[a] < users[b]; }));
    }
    for (int core : shares[rank].cores) ++users[core];
  }
  for (CoreShare& share : shares) {
    share.exclusive = std::all_of(share.cores.begin(), share.cores.end(),
                                  [&](int core) { return users[core] == 1; });
  }
  return shares;
}

std::vector<int> affinity_mask() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof(set), &set) != 0) {
    throw Error(ErrorCode::kIo, std::string("sched_getaffinity: ") + std::strerror(errno));
  }
  std::vector<int> cores;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(core, &set)) cores.push_back(core);
  }
  return cores;
}

std::string set_threads(Communicator& world, const ThreadOptions& options) {
  const auto host = split_by_host(world);
  const auto masks = exchange_masks(*host, affinity_mask());
  const CoreShare share = deal_cores(masks)[host->rank()];
  int64_t threads = options.threads > 0 ? options.threads : threads_from_environment();
  if (threads == 0) threads = static_cast<int64_t>(share.cores.size());
  if (options.pin) pin_to(share.cores);
  at::set_num_threads(static_cast<int>(threads));
  return in_words(threads, share, options.pin);
}

}  // namespace wattle
