#include "trainer/checkpoint/files/shard.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <fmt/format.h>
#include <xxhash.h>

#include <array>
#include <cstring>
#include <nlohmann/json.hpp>

#include "common/error.h"
#include "formats/safetensors/safetensors.h"

namespace wattle {
namespace {

using nlohmann::json;

constexpr size_t kLengthBytes = 8;  // of the header's length, little-endian
constexpr size_t kHeaderAlignment = 64;
constexpr const char* kFormatName = "wattle-checkpoint-1";

struct StoredType {
  at::ScalarType type;
  DType stored;
};
constexpr std::array<StoredType, 10> kStoredTypes = {{{at::kFloat, DType::kF32},
                                                      {at::kDouble, DType::kF64},
                                                      {at::kBFloat16, DType::kBF16},
                                                      {at::kHalf, DType::kF16},
                                                      {at::kLong, DType::kI64},
                                                      {at::kInt, DType::kI32},
                                                      {at::kShort, DType::kI16},
                                                      {at::kChar, DType::kI8},
                                                      {at::kByte, DType::kU8},
                                                      {at::kBool, DType::kBool}}};

DType stored_as(at::ScalarType type) {
  for (const StoredType& known : kStoredTypes) {
    if (known.type == type) return known.stored;
  }
  throw Error(ErrorCode::kInternal,
              fmt::format("checkpoint: no way to store tensors of {}", c10::toString(type)));
}

at::ScalarType read_as(DType stored) {
  for (const StoredType& known : kStoredTypes) {
    if (known.stored == stored) return known.type;
  }
  throw Error(ErrorCode::kFormat, fmt::format("a checkpoint holds no {}", name_of(stored)));
}

std::string piece_hash(const std::byte* data, size_t bytes) {
  return fmt::format("{:016x}", XXH3_64bits(data, bytes));
}

std::string hex(XXH128_hash_t hash) {
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

bool is_whole(const Region& region) {
  return region.box_shape == region.global_shape &&
         region.numel() == Region::whole(region.global_shape).numel();
}

ShardPiece piece_of(const TensorView& tensor, const json& region, const std::byte* file_begin) {
  ShardPiece piece;
  piece.name = tensor.name;
  piece.type = read_as(tensor.dtype);
  const auto range = region.at("range").get<std::array<int64_t, 2>>();
  piece.region = {region.at("global_shape").get<std::vector<int64_t>>(),
                  region.at("box_offset").get<std::vector<int64_t>>(),
                  region.at("box_shape").get<std::vector<int64_t>>(), range[0], range[1]};
  piece.hash = region.at("xxh3").get<std::string>();
  piece.offset = static_cast<uint64_t>(tensor.bytes.data() - file_begin);
  piece.bytes = tensor.bytes.size();
  std::string defect = piece.region.defect();
  const auto numel = static_cast<uint64_t>(piece.region.numel());
  if (defect.empty() && piece.bytes / c10::elementSize(piece.type) != numel) {
    defect = fmt::format("expected {} elements, got {} bytes", numel, piece.bytes);
  }
  if (!defect.empty()) throw Error(ErrorCode::kFormat, "tensor " + tensor.name + ": " + defect);
  return piece;
}

}  // namespace

std::string shard_name(int rank, int ranks) {
  return fmt::format("shard-{:05}-of-{:05}.safetensors", rank, ranks);
}

std::string hash_of(const void* data, size_t bytes) { return hex(XXH3_128bits(data, bytes)); }

void ShardSnapshot::capture(const std::vector<TensorSlice>& slices) {
  const at::NoGradGuard no_grad;
  pieces_.clear();
  bytes_ = 0;
  for (const TensorSlice& slice : slices) {
    const std::string defect = slice.region.defect();
    if (!defect.empty() || slice.data.numel() != slice.region.numel() ||
        !slice.data.is_contiguous()) {
      throw Error(ErrorCode::kInternal,
                  "checkpoint: slice of " + slice.name + " doesn't fit its region: " + defect);
    }
    stored_as(slice.data.scalar_type());
    pieces_.push_back({slice.name, slice.data.scalar_type(), slice.region, bytes_,
                       static_cast<uint64_t>(slice.data.nbytes()), ""});
    bytes_ += slice.data.nbytes();
  }
  const auto needed = static_cast<int64_t>(bytes_);
  if (!staging_.defined() || staging_.numel() < needed) staging_ = at::empty({needed}, at::kByte);
  for (size_t i = 0; i < slices.size(); ++i) {
    if (pieces_[i].bytes == 0) continue;
    staging_.narrow(0, pieces_[i].offset, pieces_[i].bytes)
        .copy_(slices[i].data.view({-1}).view(at::kByte));
  }
}

std::string ShardSnapshot::header() {
  json tensors = json::object(), regions = json::object();
  const auto* data = static_cast<const std::byte*>(staging_.const_data_ptr());
  for (ShardPiece& piece : pieces_) {
    piece.hash = piece_hash(data + piece.offset, piece.bytes);
    const Region& region = piece.region;
    const std::vector<int64_t> flat = {region.numel()};
    tensors[piece.name] = {{"dtype", name_of(stored_as(piece.type))},
                           {"shape", is_whole(region) ? region.global_shape : flat},
                           {"data_offsets", {piece.offset, piece.offset + piece.bytes}}};
    regions[piece.name] = {{"global_shape", region.global_shape},
                           {"box_offset", region.box_offset},
                           {"box_shape", region.box_shape},
                           {"range", {region.begin, region.end}},
                           {"xxh3", piece.hash}};
  }
  if (tensors.size() != pieces_.size()) {
    throw Error(ErrorCode::kInternal, "checkpoint: two tensors of a rank have the same name");
  }
  tensors["__metadata__"] = {{"format", kFormatName}, {"regions", regions.dump()}};
  std::string text = tensors.dump();
  text.resize(
      (text.size() + kLengthBytes + kHeaderAlignment - 1) / kHeaderAlignment * kHeaderAlignment -
          kLengthBytes,
      ' ');
  return text;
}

std::string ShardSnapshot::write(Storage& storage, const std::filesystem::path& path) {
  const std::string text = header();
  std::array<unsigned char, kLengthBytes> length;
  for (size_t i = 0; i < kLengthBytes; ++i) length[i] = (text.size() >> (8 * i)) & 0xff;
  const void* data = staging_.const_data_ptr();

  const std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> hash(XXH3_createState(),
                                                                      &XXH3_freeState);
  XXH3_128bits_reset(hash.get());
  XXH3_128bits_update(hash.get(), length.data(), length.size());
  XXH3_128bits_update(hash.get(), text.data(), text.size());
  XXH3_128bits_update(hash.get(), data, bytes_);

  const std::unique_ptr<OutputFile> file = storage.create(path);
  file->write(length.data(), length.size());
  file->write(text.data(), text.size());
  file->write(data, bytes_);
  file->close();
  return hex(XXH3_128bits_digest(hash.get()));
}

std::vector<ShardPiece> read_pieces(const MappedFile& file) {
  const SafetensorsContent content = parse_safetensors(file.bytes(), file.path());
  try {
    const auto format = content.metadata.find("format");
    if (format == content.metadata.end() || format->second != kFormatName) {
      throw Error(ErrorCode::kFormat, "is no shard of a checkpoint of version 1");
    }
    const json regions = json::parse(content.metadata.at("regions"));
    std::vector<ShardPiece> pieces;
    for (const TensorView& tensor : content.tensors.all()) {
      pieces.push_back(piece_of(tensor, regions.at(tensor.name), file.bytes().data()));
    }
    return pieces;
  } catch (const std::exception& error) {
    throw Error(ErrorCode::kFormat, file.path() + ": header: " + error.what());
  }
}

std::string find_defect(const MappedFile& file) {
  try {
    for (const ShardPiece& piece : read_pieces(file)) {
      const std::string got = piece_hash(file.bytes().data() + piece.offset, piece.bytes);
      if (got != piece.hash) {
        return fmt::format("{}: bytes {} to {} ({}): expected checksum {}, got {}", file.path(),
                           piece.offset, piece.offset + piece.bytes, piece.name, piece.hash, got);
      }
    }
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

}  // namespace wattle
