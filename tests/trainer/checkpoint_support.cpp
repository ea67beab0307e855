#include "tests/trainer/checkpoint_support.h"

#include <ATen/ops/empty.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <random>

#include "trainer/checkpoint/checkpoint_reader.h"
#include "trainer/checkpoint/training_state.h"

namespace wattle {
namespace {

const std::vector<std::string> kNames = {"matrix", "floats", "doubles",
                                         "halves", "counts", "scalar"};

}  // namespace

Numbers::Numbers(uint64_t seed) {
  tensors_ = {at::empty({37, 23}, at::kFloat), at::empty({11, 100}, at::kFloat),
              at::empty({531}, at::kDouble),   at::empty({7, 9, 5}, at::kBFloat16),
              at::empty({300}, at::kLong),     at::empty({}, at::kDouble)};
  std::mt19937_64 random(seed);
  for (at::Tensor& tensor : tensors_) {  // any bits, those of NaN included
    auto* bytes = static_cast<unsigned char*>(tensor.mutable_data_ptr());
    for (size_t i = 0; i < tensor.nbytes(); ++i) bytes[i] = static_cast<unsigned char>(random());
  }
}

std::vector<TensorSlice> Numbers::slices(int rank, int ranks) const {
  const at::Tensor& matrix = tensors_[0];
  const int64_t first = matrix.size(1) * rank / ranks;
  const int64_t columns = matrix.size(1) * (rank + 1) / ranks - first;
  std::vector<TensorSlice> slices = {{kNames[0],
                                      {{37, 23}, {0, first}, {37, columns}, 0, 37 * columns},
                                      matrix.narrow(1, first, columns).contiguous().view({-1})}};
  for (size_t i = 1; i + 1 < tensors_.size(); ++i) {
    TensorSlice slice = TensorSlice::whole(kNames[i], tensors_[i]);
    const FlatRange share = even_share(tensors_[i].numel(), rank, ranks);
    slice.region.begin = share.begin;
    slice.region.end = share.end;
    slice.data = slice.data.narrow(0, share.begin, share.numel());
    slices.push_back(slice);
  }
  if (rank == 0) slices.push_back(TensorSlice::whole(kNames.back(), tensors_.back()));
  return slices;
}

void Numbers::take_columns(const std::vector<TensorSlice>& slices) {
  const Region& box = slices[0].region;
  tensors_[0]
      .narrow(1, box.box_offset[1], box.box_shape[1])
      .copy_(slices[0].data.view(box.box_shape));
}

bool Numbers::equals(const Numbers& other) const {
  for (size_t i = 0; i < tensors_.size(); ++i) {
    if (std::memcmp(tensors_[i].const_data_ptr(), other.tensors_[i].const_data_ptr(),
                    tensors_[i].nbytes()) != 0) {
      return false;
    }
  }
  return true;
}

Numbers Numbers::copy() const {
  Numbers made = *this;
  for (at::Tensor& tensor : made.tensors_) tensor = tensor.clone();
  return made;
}

void Numbers::clear() {
  for (at::Tensor& tensor : tensors_) tensor.zero_();
}

int64_t Numbers::numel() const {
  int64_t numel = 0;
  for (const at::Tensor& tensor : tensors_) numel += tensor.numel();
  return numel;
}

CheckpointMeta CheckpointFixture::meta(int64_t step) {
  return {.step = step,
          .samples = step * 32,
          .stream_hash = "abc",
          .seed = ~uint64_t{0},
          .attempt = 1,
          .ranks = 0,
          .sections = {{"energy", R"({"joules": 1.5})"}}};
}

void CheckpointFixture::write(int64_t step, const Numbers& numbers, int ranks) {
  std::vector<std::unique_ptr<Checkpointer>> all;
  for (int rank = 0; rank < ranks; ++rank) {
    all.push_back(std::make_unique<Checkpointer>(output_dir_, options_, rank, ranks));
    all.back()->begin(meta(step), numbers.slices(rank, ranks));
  }
  WriteState least = WriteState::kIdle;
  for (auto& checkpointer : all) {
    checkpointer->finish();
    least = std::min(least, checkpointer->state());
  }
  for (auto& checkpointer : all) checkpointer->settle(least);
}

void CheckpointFixture::settle(Checkpointer& checkpointer) {
  do {
    checkpointer.finish();
    checkpointer.settle(checkpointer.state());
  } while (checkpointer.state() != WriteState::kIdle);
}

Numbers CheckpointFixture::read(const std::filesystem::path& checkpoint, int ranks) {
  const CheckpointReader reader(checkpoint);
  Numbers restored(0);
  for (int rank = 0; rank < ranks; ++rank) {
    const std::vector<TensorSlice> slices = restored.slices(rank, ranks);
    reader.read(slices);
    restored.take_columns(slices);
  }
  return restored;
}

std::filesystem::path CheckpointFixture::newest() {
  return folder().find_newest_whole().newest.value();
}

std::vector<std::filesystem::path> CheckpointFixture::files_of(
    const std::filesystem::path& checkpoint) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(checkpoint)) {
    files.push_back(entry.path());
  }
  return files;
}

void CheckpointFixture::flip(const std::filesystem::path& file, int64_t offset, char mask) {
  std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
  stream.seekg(offset);
  const char byte = static_cast<char>(stream.get());
  stream.seekp(offset);
  stream.put(static_cast<char>(byte ^ mask));
}

}  // namespace wattle
