#include "parallel/reducers/deterministic/deterministic_reducer.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "common/error.h"
#include "parallel/micro_batches.h"
#include "parallel/reducers/buckets.h"
#include "parallel/reducers/deterministic/tree_program.h"
#include "parallel/reducers/kernels.h"
#include "parallel/reducers/shared_memory/rank_events.h"
#include "parallel/reducers/shared_memory/shared_buffer.h"

namespace wattle {
namespace {

/// Elements of each sum that the ranks gather at once where memory is not shared.
constexpr int64_t kGathered = 256 * kChunk;

template <class T>
class DeterministicReducer : public GradientReducer {
 public:
  using Sum = SumOf<T>;
  static constexpr at::ScalarType kSumType = c10::CppTypeToScalarType<Sum>::value;

  DeterministicReducer(Communicator& communicator, const FlatLayout& layout)
      : communicator_(communicator), numel_(layout.numel), stack_(0) {}

  at::Tensor& gradients() override { return gradients_; }

  void begin_step(int64_t first, int64_t count, int64_t total) override {
    const auto shares = exchange_micro_batches(communicator_, {first, count});
    check_micro_batches(shares, total);
    program_ = TreeProgram::of(shares, total);
    int slots = 0;
    for (const MicroBatches& share : shares) slots = std::max(slots, blocks_of(share, total).slots);
    while (slots_ < slots) add_slot(slots_++);
    scratch_.resize(at::get_num_threads() * program_.depth * kChunk);
    stack_ = BlockStack(total);
    share_ = {first, count};
    begun_ = ended_ = 0;
  }

  void begin_micro_batch() override {
    if (begun_ != ended_ || begun_ == share_.count) fail_count("begins");
    if (begun_ > 0) fold(share_.first + begun_ - 1);
    ++begun_;
  }
  void mark_ready(int64_t) override {}
  void end_micro_batch() override {
    if (++ended_ != begun_) fail_count("ends");
  }

  void finish() override {
    if (ended_ != share_.count) fail_count("finishes");
    sum_over_ranks();
  }

 protected:
  virtual void add_slot(int slot) = 0;
  virtual Sum* slot(int slot) = 0;
  virtual void sum_over_ranks() = 0;

  /// Evaluates the tree for elements [begin, end) and hands each piece of at most kChunk to
  /// `store(first, n, sum)`. `load(held, first, n, to)` gives a held block's elements.
  template <class Load, class Store>
  void evaluate(Range range, const Load& load, const Store& store) {
    at::parallel_for(range.begin, range.end, 16 * kChunk, [&](int64_t begin, int64_t end) {
      const int64_t room = program_.depth * kChunk;
      const std::span<Sum> stack(scratch_.data() + at::get_thread_num() * room,
                                 static_cast<size_t>(room));
      for (int64_t first = begin; first < end; first += kChunk) {
        const int64_t n = std::min(kChunk, end - first);
        run_program(program_, n, stack,
                    [&](const HeldBlock& held, Sum* to) { load(held, first, n, to); });
        store(first, n, stack.data());
      }
    });
  }

  Communicator& communicator_;
  const int64_t numel_;
  at::Tensor gradients_;
  TreeProgram program_;
  MicroBatches share_;

 private:
  /// Adds what stands in gradients() to the sums of earlier micro-batches.
  void fold(int64_t micro_batch) {
    const T* leaf = gradients_.data_ptr<T>();
    int top = stack_.depth();
    int merges = stack_.push({micro_batch, 0});
    const auto in_chunks = [&](const auto& each) {
      at::parallel_for(0, numel_, 16 * kChunk,
                       [&](int64_t begin, int64_t end) { each(begin, end - begin); });
    };
    if (merges == 0) {
      Sum* to = slot(top);
      in_chunks([&](int64_t i, int64_t n) { convert_elements(to + i, leaf + i, n); });
      return;
    }
    Sum* to = slot(--top);
    in_chunks([&](int64_t i, int64_t n) { add_elements(to + i, leaf + i, n); });
    for (--merges; merges > 0; --merges, --top) {
      Sum* left = slot(top - 1);
      const Sum* right = slot(top);
      in_chunks([&](int64_t i, int64_t n) { add_elements(left + i, right + i, n); });
    }
  }

  [[noreturn]] void fail_count(const char* what) const {
    throw Error(ErrorCode::kInternal, "deterministic reducer on rank " +
                                          std::to_string(communicator_.rank()) + ": " + what +
                                          " with " + std::to_string(ended_) +
                                          " micro-batches done of " + std::to_string(share_.count));
  }

  BlockStack stack_;
  std::vector<Sum> scratch_;
  int slots_ = 0;
  int64_t begun_ = 0;
  int64_t ended_ = 0;
};

/// Every rank reads the others' sums where they lie.
template <class T>
class SharedDeterministicReducer : public DeterministicReducer<T> {
 public:
  using Base = DeterministicReducer<T>;
  using typename Base::Sum;

  SharedDeterministicReducer(Communicator& communicator, const FlatLayout& layout,
                             at::ScalarType type)
      : Base(communicator, layout),
        buffer_(communicator, layout.numel, type),
        events_(communicator, 2) {
    this->gradients_ = buffer_.tensor();
  }

 protected:
  void add_slot(int) override {
    slots_.emplace_back(this->communicator_, this->numel_, Base::kSumType);
  }
  Sum* slot(int slot) override { return slots_[slot].template of<Sum>(rank()); }

  void sum_over_ranks() override {
    ++step_;
    meet(kSumsReady);
    this->evaluate(
        share_of({0, this->numel_}, rank(), ranks()),
        [&](const HeldBlock& held, int64_t first, int64_t n, Sum* to) {
          if (held.slot == HeldBlock::kGradients) {
            convert_elements(to, buffer_.of<T>(held.rank) + first, n);
          } else {
            convert_elements(to, slots_[held.slot].template of<Sum>(held.rank) + first, n);
          }
        },
        [&](int64_t first, int64_t n, const Sum* sum) {
          for (int rank = 0; rank < ranks(); ++rank)
            convert_elements(buffer_.of<T>(rank) + first, sum, n);
        });
    meet(kSumsTaken);
  }

 private:
  enum Meeting { kSumsReady, kSumsTaken };

  int rank() const { return this->communicator_.rank(); }
  int ranks() const { return this->communicator_.size(); }

  void meet(Meeting meeting) {
    events_.announce(meeting, step_);
    events_.wait([&] { return events_.reached(meeting, step_); });
  }

  SharedBuffer buffer_;
  std::vector<SharedBuffer> slots_;
  RankEvents events_;
  uint32_t step_ = 0;
};

/// All ranks gather all sums, some elements at a time.
template <class T>
class GatheringDeterministicReducer : public DeterministicReducer<T> {
 public:
  using Base = DeterministicReducer<T>;
  using typename Base::Sum;

  GatheringDeterministicReducer(Communicator& communicator, const FlatLayout& layout,
                                at::ScalarType type)
      : Base(communicator, layout) {
    this->gradients_ = at::zeros({layout.numel}, type);
  }

 protected:
  void add_slot(int) override { slots_.push_back(at::empty({this->numel_}, Base::kSumType)); }
  Sum* slot(int slot) override { return slots_[slot].template data_ptr<Sum>(); }

  void sum_over_ranks() override {
    // Row 0 of a rank is its gradients, row 1 + s its slot s.
    int64_t rows = 1;
    for (const HeldBlock& held : this->program_.blocks)
      rows = std::max<int64_t>(rows, held.slot + 2);
    resize_buffers(rows);
    T* gradients = this->gradients_.template data_ptr<T>();
    for (int64_t first = 0; first < this->numel_; first += kGathered) {
      const int64_t n = std::min(kGathered, this->numel_ - first);
      Sum* mine = mine_.data_ptr<Sum>();
      convert_elements(mine, gradients + first, n);
      for (int64_t row = 1; row < rows && row <= static_cast<int64_t>(slots_.size()); ++row) {
        convert_elements(mine + row * kGathered, slot(static_cast<int>(row) - 1) + first, n);
      }
      this->communicator_.all_gather(mine_, all_);
      const Sum* all = all_.data_ptr<Sum>();
      this->evaluate(
          {0, n},
          [&](const HeldBlock& held, int64_t begin, int64_t count, Sum* to) {
            convert_elements(to, all + (held.rank * rows + held.slot + 1) * kGathered + begin,
                             count);
          },
          [&](int64_t begin, int64_t count, const Sum* sum) {
            convert_elements(gradients + first + begin, sum, count);
          });
    }
  }

 private:
  void resize_buffers(int64_t rows) {
    if (mine_.defined() && mine_.size(0) == rows) return;
    mine_ = at::zeros({rows, kGathered}, Base::kSumType);
    all_ = at::empty({this->communicator_.size() * rows, kGathered}, Base::kSumType);
  }

  std::vector<at::Tensor> slots_;
  at::Tensor mine_;
  at::Tensor all_;
};

}  // namespace

std::unique_ptr<GradientReducer> make_deterministic_reducer(Communicator& communicator,
                                                            const FlatLayout& layout,
                                                            at::ScalarType type,
                                                            bool shares_memory) {
  std::unique_ptr<GradientReducer> reducer;
  AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, type, "gradient reducer", [&] {
    if (shares_memory) {
      reducer = std::make_unique<SharedDeterministicReducer<scalar_t>>(communicator, layout, type);
    } else {
      reducer =
          std::make_unique<GatheringDeterministicReducer<scalar_t>>(communicator, layout, type);
    }
  });
  return reducer;
}

}  // namespace wattle
