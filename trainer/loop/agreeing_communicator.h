#pragma once

#include <functional>
#include <memory>

#include "parallel/communicator.h"

namespace wattle {

/// A group whose ranks can try something together: one that fails in it keeps nobody waiting.
///
/// Within together() the ranks tell each other before each collective operation whether one of them
/// has failed, which costs a message more; outside of it this is the group itself. send() and
/// recv() are passed on as they are.
class AgreeingCommunicator : public Communicator {
 public:
  /// `ranks` moves CPU tensors and must outlive this.
  explicit AgreeingCommunicator(Communicator& ranks) : ranks_(ranks) {}

  /// Does `work` on every rank, which may use this group. Where it throws on one of them, each of
  /// the others leaves it at its next operation, and all throw Error(kInternal) that says what the
  /// first rank to fail, by number, threw ("rank 1: ..."; on a rank that is alone without the
  /// number). Collective.
  void together(const std::function<void()>& work);

  int rank() const override { return ranks_.rank(); }
  int size() const override { return ranks_.size(); }
  void all_reduce(at::Tensor& tensor, ReduceOp op) override;
  void all_gather(const at::Tensor& input, at::Tensor& output) override;
  void reduce_scatter(const at::Tensor& input, at::Tensor& output) override;
  void broadcast(at::Tensor& tensor, int root) override;
  void send(const at::Tensor& tensor, int to) override { ranks_.send(tensor, to); }
  void recv(at::Tensor& tensor, int from) override { ranks_.recv(tensor, from); }
  void barrier() override;
  std::unique_ptr<Communicator> split(int color, int key) override;
  std::unique_ptr<SharedMemory> share(int64_t bytes) override;

 private:
  void agree();
  bool has_anyone_failed(bool me);

  Communicator& ranks_;
  bool agrees_ = false;
  bool left_ = false;  ///< `work`, because another rank has failed
};

}  // namespace wattle
