#include "trainer/checkpoint/files/checkpoint_meta.h"

#include <fstream>
#include <nlohmann/json.hpp>

#include "common/error.h"

namespace wattle {
namespace {

using nlohmann::json;

constexpr int kFormatVersion = 1;
constexpr int kMostRanks = 1 << 20;

}  // namespace

std::string write_meta(const CheckpointMeta& meta) {
  json sections = json::object();
  for (const auto& [name, text] : meta.sections) {
    sections[name] = json::parse(text, nullptr, false);
    if (sections[name].is_discarded()) {
      throw Error(ErrorCode::kInternal, "checkpoint: section " + name + " is no JSON: " + text);
    }
  }
  const json content = {{"format_version", kFormatVersion},
                        {"step", meta.step},
                        {"samples", meta.samples},
                        {"stream_hash", meta.stream_hash},
                        {"seed", meta.seed},
                        {"attempt", meta.attempt},
                        {"ranks", meta.ranks},
                        {"sections", sections}};
  return content.dump(2) + "\n";
}

CheckpointMeta read_meta(const std::filesystem::path& path) {
  std::ifstream file(path);
  if (!file) throw Error(ErrorCode::kIo, "can't open " + path.string());
  try {
    const json content = json::parse(file);
    const int version = content.at("format_version").get<int>();
    if (version != kFormatVersion) {
      throw Error(ErrorCode::kFormat, path.string() + ": expected format version " +
                                          std::to_string(kFormatVersion) + ", got " +
                                          std::to_string(version));
    }
    CheckpointMeta meta{.step = content.at("step").get<int64_t>(),
                        .samples = content.at("samples").get<int64_t>(),
                        .stream_hash = content.at("stream_hash").get<std::string>(),
                        .seed = content.at("seed").get<uint64_t>(),
                        .attempt = content.at("attempt").get<int64_t>(),
                        .ranks = content.at("ranks").get<int>(),
                        .sections = {}};
    for (const auto& [name, section] : content.at("sections").items()) {
      meta.sections[name] = section.dump();
    }
    if (meta.ranks < 1 || meta.ranks > kMostRanks) {
      throw Error(ErrorCode::kFormat,
                  path.string() + ": expected 1 rank or more, got " + std::to_string(meta.ranks));
    }
    return meta;
  } catch (const json::exception& error) {
    throw Error(ErrorCode::kFormat, path.string() + ": " + error.what());
  }
}

}  // namespace wattle
