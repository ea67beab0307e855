#include "parallel/communicators/threads/thread_communicator.h"

#include <ATen/ops/maximum.h>
#include <ATen/ops/minimum.h>

#include <algorithm>
#include <exception>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/error.h"
#include "parallel/communicators/tensor_checks.h"
#include "parallel/communicators/threads/thread_group.h"

namespace wattle {
namespace {

constexpr size_t kPageBytes = 4096;

/// The parts of all ranks in one allocation.
struct Arena {
  Arena(int64_t bytes, int ranks)
      : part_bytes((bytes + kPageBytes - 1) / kPageBytes * kPageBytes),
        storage(part_bytes * ranks + kPageBytes) {
    void* start = storage.data();
    size_t space = storage.size();
    base = static_cast<std::byte*>(std::align(kPageBytes, part_bytes * ranks, start, space));
  }
  size_t part_bytes;
  std::vector<std::byte> storage;
  std::byte* base;
};

class ThreadMemory : public SharedMemory {
 public:
  ThreadMemory(std::shared_ptr<Arena> arena, std::shared_ptr<ThreadGroup> group, int rank)
      : arena_(std::move(arena)), group_(std::move(group)), rank_(rank) {}
  std::span<std::byte> part(int rank) override {
    return {arena_->base + rank * arena_->part_bytes, arena_->part_bytes};
  }
  void check_peers() override { group_->check_open(rank_); }

 private:
  std::shared_ptr<Arena> arena_;
  std::shared_ptr<ThreadGroup> group_;
  int rank_;
};

at::ScalarType sum_type(at::ScalarType type) {
  return type == at::kBFloat16 || type == at::kHalf ? at::kFloat : type;
}

at::Tensor combine(const at::Tensor& a, const at::Tensor& b, ReduceOp op) {
  switch (op) {
    case ReduceOp::kMax:
      return at::maximum(a, b);
    case ReduceOp::kMin:
      return at::minimum(a, b);
    default:
      return a.add(b);
  }
}

class ThreadCommunicator : public Communicator {
 public:
  ThreadCommunicator(std::shared_ptr<ThreadGroup> group, int rank)
      : group_(std::move(group)), rank_(rank) {}
  ~ThreadCommunicator() override { group_->close(rank_); }

  int rank() const override { return rank_; }
  int size() const override { return group_->size(); }

  void all_reduce(at::Tensor& tensor, ReduceOp op) override {
    const auto tensors = exchange("all_reduce", tensor, static_cast<int64_t>(op));
    at::Tensor result = tensors[0]->to(sum_type(tensor.scalar_type()));
    for (int i = 1; i < size(); ++i) {
      result = combine(result, tensors[i]->to(result.scalar_type()), op);
    }
    group_->leave(rank_);  // all have read before any writes
    tensor.view({-1}).copy_(result.view({-1}));
  }

  void all_gather(const at::Tensor& input, at::Tensor& output) override {
    check_tensor(output, at::kCPU, "all_gather");
    check_sizes(input, output, size(), "all_gather");
    const auto tensors = exchange("all_gather", input);
    at::Tensor rows = output.view({size(), input.numel()});
    for (int i = 0; i < size(); ++i) rows[i].copy_(tensors[i]->view({-1}));
    group_->leave(rank_);
  }

  void reduce_scatter(const at::Tensor& input, at::Tensor& output) override {
    check_tensor(output, at::kCPU, "reduce_scatter");
    check_sizes(output, input, size(), "reduce_scatter");
    const auto tensors = exchange("reduce_scatter", input);
    const auto row = [&](int i) {
      return tensors[i]->view({size(), output.numel()})[rank_].to(sum_type(input.scalar_type()));
    };
    at::Tensor sum = row(0);
    for (int i = 1; i < size(); ++i) sum = sum.add(row(i));
    group_->leave(rank_);
    output.view({-1}).copy_(sum);
  }

  void broadcast(at::Tensor& tensor, int root) override {
    check_rank(root, size(), "broadcast");
    const auto tensors = exchange("broadcast", tensor, root);
    if (rank_ != root) tensor.view({-1}).copy_(tensors[root]->view({-1}));
    group_->leave(rank_);
  }

  void send(const at::Tensor& tensor, int to) override {
    check_tensor(tensor, at::kCPU, "send");
    check_rank(to, size(), "send");
    group_->put(rank_, to, tensor.clone());
  }

  void recv(at::Tensor& tensor, int from) override {
    check_tensor(tensor, at::kCPU, "recv");
    check_rank(from, size(), "recv");
    const at::Tensor message = group_->take(from, rank_);
    if (message.scalar_type() != tensor.scalar_type() || message.numel() != tensor.numel()) {
      throw Error(ErrorCode::kCommunication, "thread communicator: rank " + std::to_string(rank_) +
                                                 " expects " + std::to_string(tensor.numel()) +
                                                 " elements from rank " + std::to_string(from) +
                                                 ", got " + std::to_string(message.numel()));
    }
    tensor.view({-1}).copy_(message.view({-1}));
  }

  void barrier() override {
    group_->enter(rank_, {"barrier"});
    group_->leave(rank_);
  }

  std::unique_ptr<Communicator> split(int color, int key) override {
    Member me{color, key, rank_, nullptr};
    const auto objects = group_->enter(rank_, {"split", 0, at::kByte, 0, &me});
    std::vector<Member*> members;
    for (void* object : objects) {
      auto* member = static_cast<Member*>(object);
      if (member->color == color) members.push_back(member);
    }
    std::sort(members.begin(), members.end(), [](const Member* a, const Member* b) {
      return std::pair(a->key, a->rank) < std::pair(b->key, b->rank);
    });
    if (members[0] == &me) me.group = std::make_shared<ThreadGroup>(members.size());
    group_->leave(rank_);  // the first of each color has made its group
    const auto place = std::find(members.begin(), members.end(), &me) - members.begin();
    auto child = std::make_unique<ThreadCommunicator>(members[0]->group, static_cast<int>(place));
    group_->leave(rank_);
    return child;
  }

  std::unique_ptr<SharedMemory> share(int64_t bytes) override {
    std::shared_ptr<Arena> arena;
    if (rank_ == 0) arena = std::make_shared<Arena>(bytes, size());
    const auto arenas = group_->enter(rank_, {"share", 0, at::kByte, bytes, &arena});
    const auto shared = *static_cast<std::shared_ptr<Arena>*>(arenas[0]);
    group_->leave(rank_);
    return std::make_unique<ThreadMemory>(shared, group_, rank_);
  }

 private:
  struct Member {
    int color, key, rank;
    std::shared_ptr<ThreadGroup> group;
  };

  std::vector<const at::Tensor*> exchange(const char* operation, const at::Tensor& tensor,
                                          int64_t argument = 0) {
    check_tensor(tensor, at::kCPU, operation);
    auto objects = group_->enter(rank_, {operation, tensor.numel(), tensor.scalar_type(), argument,
                                         const_cast<at::Tensor*>(&tensor)});
    std::vector<const at::Tensor*> tensors;
    for (void* object : objects) tensors.push_back(static_cast<const at::Tensor*>(object));
    return tensors;
  }

  std::shared_ptr<ThreadGroup> group_;
  int rank_;
};

}  // namespace

void run_as_threads(int ranks, const std::function<void(Communicator&)>& body) {
  auto group = std::make_shared<ThreadGroup>(ranks);
  std::mutex mutex;
  std::exception_ptr first;
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&, rank] {
      ThreadCommunicator communicator(group, rank);
      try {
        body(communicator);
      } catch (...) {
        std::lock_guard lock(mutex);
        if (!first) first = std::current_exception();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  if (first) std::rethrow_exception(first);
}

}  // namespace wattle
