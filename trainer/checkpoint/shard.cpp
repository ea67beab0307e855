#include "trainer/checkpoint/shard.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <fmt/format.h>
#include <xxhash.h>

#include <array>
#include <cstring>
#include <nlohmann/json.hpp>

#include "common/error.h"

namespace wattle {
namespace {

using nlohmann::json;

constexpr size_t kLengthBytes = 8;  // of the header's length, little-endian
constexpr size_t kHeaderAlignment = 64;
constexpr const char* kFormatName = "wattle-checkpoint-1";

struct TypeName {
  at::ScalarType type;
  const char* name;
};
constexpr std::array<TypeName, 10> kTypeNames = {{{at::kFloat, "F32"},
                                                  {at::kDouble, "F64"},
                                                  {at::kBFloat16, "BF16"},
                                                  {at::kHalf, "F16"},
                                                  {at::kLong, "I64"},
                                                  {at::kInt, "I32"},
                                                  {at::kShort, "I16"},
                                                  {at::kChar, "I8"},
                                                  {at::kByte, "U8"},
                                                  {at::kBool, "BOOL"}}};

std::string name_of(at::ScalarType type) {
  for (const TypeName& known : kTypeNames) {
    if (known.type == type) return known.name;
  }
  throw Error(ErrorCode::kInternal,
              fmt::format("checkpoint: no way to store tensors of {}", c10::toString(type)));
}

at::ScalarType type_of(const std::string& name) {
  for (const TypeName& known : kTypeNames) {
    if (name == known.name) return known.type;
  }
  throw Error(ErrorCode::kFormat, "unknown type '" + name + "'");
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

ShardPiece piece_of(const std::string& name, const json& entry, const json& region,
                    uint64_t data_begin, uint64_t file_bytes) {
  ShardPiece piece;
  piece.name = name;
  piece.type = type_of(entry.at("dtype").get<std::string>());
  const auto range = region.at("range").get<std::array<int64_t, 2>>();
  piece.region = {region.at("global_shape").get<std::vector<int64_t>>(),
                  region.at("box_offset").get<std::vector<int64_t>>(),
                  region.at("box_shape").get<std::vector<int64_t>>(), range[0], range[1]};
  piece.hash = region.at("xxh3").get<std::string>();
  const auto offsets = entry.at("data_offsets").get<std::array<uint64_t, 2>>();
  const std::string defect = piece.region.defect();
  if (!defect.empty()) throw Error(ErrorCode::kFormat, "tensor " + name + ": " + defect);
  const uint64_t room = file_bytes - data_begin;
  if (offsets[0] > offsets[1] || offsets[1] > room) {
    throw Error(ErrorCode::kFormat,
                fmt::format("tensor {}: expected its bytes up to {}, the file has {}", name,
                            data_begin + offsets[1], file_bytes));
  }
  piece.file_offset = data_begin + offsets[0];
  piece.bytes = offsets[1] - offsets[0];
  const auto elements = static_cast<uint64_t>(piece.region.numel());
  const uint64_t item = c10::elementSize(piece.type);
  if (piece.bytes % item != 0 || piece.bytes / item != elements) {
    throw Error(ErrorCode::kFormat, fmt::format("tensor {}: expected {} elements, got {} bytes",
                                                name, elements, piece.bytes));
  }
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
    name_of(slice.data.scalar_type());
    pieces_.push_back({slice.name, slice.data.scalar_type(), slice.region, bytes_,
                       static_cast<uint64_t>(slice.data.nbytes()), ""});
    bytes_ += slice.data.nbytes();
  }
  const auto needed = static_cast<int64_t>(bytes_);
  if (!staging_.defined() || staging_.numel() < needed) staging_ = at::empty({needed}, at::kByte);
  for (size_t i = 0; i < slices.size(); ++i) {
    if (pieces_[i].bytes == 0) continue;
    staging_.narrow(0, pieces_[i].file_offset, pieces_[i].bytes)
        .copy_(slices[i].data.view({-1}).view(at::kByte));
  }
}

std::string ShardSnapshot::header() {
  json tensors = json::object(), regions = json::object();
  const auto* data = static_cast<const std::byte*>(staging_.const_data_ptr());
  for (ShardPiece& piece : pieces_) {
    piece.hash = piece_hash(data + piece.file_offset, piece.bytes);
    const Region& region = piece.region;
    const std::vector<int64_t> flat = {region.numel()};
    tensors[piece.name] = {{"dtype", name_of(piece.type)},
                           {"shape", is_whole(region) ? region.global_shape : flat},
                           {"data_offsets", {piece.file_offset, piece.file_offset + piece.bytes}}};
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

std::vector<ShardPiece> read_pieces(const std::filesystem::path& path, const MappedFile& file) {
  try {
    if (file.bytes().size() < kLengthBytes)
      throw Error(ErrorCode::kFormat, "ends within its first 8 bytes");
    uint64_t length = 0;
    for (size_t i = 0; i < kLengthBytes; ++i) {
      length |= std::to_integer<uint64_t>(file.bytes().data()[i]) << (8 * i);
    }
    if (length > file.bytes().size() - kLengthBytes) {
      throw Error(ErrorCode::kFormat, fmt::format("expected a header of {} bytes, the file has {}",
                                                  length, file.bytes().size()));
    }
    const auto* text = reinterpret_cast<const char*>(file.bytes().data()) + kLengthBytes;
    const json header = json::parse(text, text + length);
    const json& metadata = header.at("__metadata__");
    if (metadata.at("format").get<std::string>() != kFormatName) {
      throw Error(ErrorCode::kFormat, "is no shard of a checkpoint of version 1");
    }
    const json regions = json::parse(metadata.at("regions").get<std::string>());
    std::vector<ShardPiece> pieces;
    for (const auto& [name, entry] : header.items()) {
      if (name == "__metadata__") continue;
      pieces.push_back(
          piece_of(name, entry, regions.at(name), kLengthBytes + length, file.bytes().size()));
    }
    return pieces;
  } catch (const json::exception& error) {
    throw Error(ErrorCode::kFormat, path.string() + ": header: " + error.what());
  } catch (const Error& error) {
    throw Error(ErrorCode::kFormat, path.string() + ": " + error.what());
  }
}

std::string find_defect(const std::filesystem::path& path, const MappedFile& file) {
  try {
    for (const ShardPiece& piece : read_pieces(path, file)) {
      const std::string got = piece_hash(file.bytes().data() + piece.file_offset, piece.bytes);
      if (got != piece.hash) {
        return fmt::format("{}: bytes {} to {} ({}): expected checksum {}, got {}", path.string(),
                           piece.file_offset, piece.file_offset + piece.bytes, piece.name,
                           piece.hash, got);
      }
    }
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

}  // namespace wattle
