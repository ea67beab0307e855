#include "trainer/loop/agreeing_communicator.h"

#include <ATen/ops/full.h>
#include <c10/util/Exception.h>
#include <fmt/format.h>

#include "common/error.h"
#include "trainer/loop/figures_exchange.h"

namespace wattle {

bool AgreeingCommunicator::has_anyone_failed(bool me) {
  at::Tensor failed = at::full({1}, me ? 1 : 0, at::kInt);
  ranks_.all_reduce(failed, ReduceOp::kMax);
  return failed.item<int>() != 0;
}

void AgreeingCommunicator::agree() {
  if (!agrees_ || !has_anyone_failed(false)) return;
  left_ = true;
  throw Error(ErrorCode::kCommunication, fmt::format("rank {}: another rank has failed", rank()));
}

void AgreeingCommunicator::together(const std::function<void()>& work) {
  bool failed = true;
  std::string mine;
  agrees_ = true;
  left_ = false;
  try {
    work();
    failed = false;
  } catch (const c10::Error& error) {
    mine = error.what_without_backtrace();
  } catch (const std::exception& error) {
    mine = error.what();
  }
  if (failed && mine.empty()) mine = "an error without a text";
  agrees_ = false;
  if (!left_ && !has_anyone_failed(failed)) return;
  if (left_) mine.clear();
  const std::vector<std::string> all = FiguresExchange(ranks_, at::kCPU).gather_texts(mine);
  for (size_t i = 0; i < all.size(); ++i) {
    if (all[i].empty()) continue;
    throw Error(ErrorCode::kInternal, size() == 1 ? all[i] : fmt::format("rank {}: {}", i, all[i]));
  }
}

void AgreeingCommunicator::all_reduce(at::Tensor& tensor, ReduceOp op) {
  agree();
  ranks_.all_reduce(tensor, op);
}

void AgreeingCommunicator::all_gather(const at::Tensor& input, at::Tensor& output) {
  agree();
  ranks_.all_gather(input, output);
}

void AgreeingCommunicator::reduce_scatter(const at::Tensor& input, at::Tensor& output) {
  agree();
  ranks_.reduce_scatter(input, output);
}

void AgreeingCommunicator::broadcast(at::Tensor& tensor, int root) {
  agree();
  ranks_.broadcast(tensor, root);
}

void AgreeingCommunicator::barrier() {
  agree();
  ranks_.barrier();
}

std::unique_ptr<Communicator> AgreeingCommunicator::split(int color, int key) {
  agree();
  return ranks_.split(color, key);
}

std::unique_ptr<SharedMemory> AgreeingCommunicator::share(int64_t bytes) {
  agree();
  return ranks_.share(bytes);
}

}  // namespace wattle
