#include "trainer/checkpoint/checkpoint_reader.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "common/error.h"

namespace wattle {
namespace {

/// Throws unless the parts, (begin, numel) each, cover [0, numel).
void check_covered(std::vector<std::pair<int64_t, int64_t>> parts, int64_t numel,
                   const std::string& what) {
  std::sort(parts.begin(), parts.end());
  int64_t covered = 0;
  for (const auto& [begin, length] : parts) {
    if (begin > covered) break;
    covered = std::max(covered, begin + length);
  }
  if (covered < numel) {
    throw Error(ErrorCode::kFormat,
                fmt::format("{}: no shard holds element {} of {}", what, covered, numel));
  }
}

}  // namespace

CheckpointReader::CheckpointReader(const std::filesystem::path& checkpoint)
    : path_(checkpoint), meta_(read_meta(checkpoint / "meta.json")) {
  for (int rank = 0; rank < meta_.ranks; ++rank) {
    const std::filesystem::path shard = path_ / shard_name(rank, meta_.ranks);
    files_.push_back(std::make_unique<MappedFile>(shard.string()));
    for (ShardPiece& piece : read_pieces(*files_.back())) {
      pieces_[piece.name].push_back({files_.back().get(), std::move(piece)});
    }
  }
}

std::vector<std::string> CheckpointReader::names() const {
  std::vector<std::string> names;
  for (const auto& [name, pieces] : pieces_) names.push_back(name);
  return names;
}

const std::vector<CheckpointReader::Located>& CheckpointReader::pieces_of(
    const std::string& name) const {
  const auto found = pieces_.find(name);
  if (found == pieces_.end()) {
    throw Error(ErrorCode::kFormat, path_.string() + ": holds no tensor " + name);
  }
  return found->second;
}

at::ScalarType CheckpointReader::type_of(const std::string& name) const {
  return pieces_of(name).front().piece.type;
}

void CheckpointReader::read(const std::vector<TensorSlice>& slices) const {
  const at::NoGradGuard no_grad;
  for (const TensorSlice& slice : slices) read_one(slice);
}

void CheckpointReader::read_one(const TensorSlice& slice) const {
  const std::string what = path_.string() + ": " + slice.name;
  at::Tensor target = slice.data.view({-1});
  at::Tensor host = target.is_cpu() ? target : at::empty({target.numel()}, target.scalar_type());
  const auto item = static_cast<size_t>(host.element_size());
  auto* out = static_cast<std::byte*>(host.mutable_data_ptr());
  std::vector<std::pair<int64_t, int64_t>> parts;
  for (const auto& [file, piece] : pieces_of(slice.name)) {
    if (piece.type != host.scalar_type() ||
        piece.region.global_shape != slice.region.global_shape) {
      throw Error(
          ErrorCode::kFormat,
          fmt::format("{}: expected {} [{}], got {} [{}]", what, c10::toString(host.scalar_type()),
                      fmt::join(slice.region.global_shape, ", "), c10::toString(piece.type),
                      fmt::join(piece.region.global_shape, ", ")));
    }
    const std::byte* in = file->bytes().data() + piece.offset;
    for (const Overlap& part : overlaps(piece.region, slice.region)) {
      std::memcpy(out + part.to * item, in + part.from * item, part.numel * item);
      parts.emplace_back(part.to, part.numel);
    }
  }
  check_covered(std::move(parts), target.numel(), what);
  if (!target.is_cpu()) target.copy_(host);
}

at::Tensor CheckpointReader::read_whole(const std::string& name) const {
  const ShardPiece& piece = pieces_of(name).front().piece;
  at::Tensor tensor = at::empty(piece.region.global_shape, piece.type);
  read({TensorSlice::whole(name, tensor)});
  return tensor;
}

}  // namespace wattle
