#include "trainer/checkpoint/files/checkpoint_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "common/error.h"
#include "common/mapped_file.h"
#include "common/text.h"
#include "trainer/checkpoint/files/shard.h"

namespace wattle {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "step-";
constexpr std::string_view kReplaced = ".replaced";
constexpr const char* kMetaName = "meta.json";
constexpr const char* kChecksumsName = "checksums.xxh3";

/// N of "step-N", nothing for names that this writes no checkpoint under ("step-012").
std::optional<int64_t> step_of(const std::string& name) {
  const auto step = number_after<int64_t>(kPrefix, name);
  const bool is_ours = step && *step >= 0 && name == fmt::format("{}{}", kPrefix, *step);
  return is_ours ? step : std::nullopt;
}

/// Nothing if there is no such folder. Names may change meanwhile.
std::vector<fs::path> entries_of(const fs::path& folder) {
  std::error_code missing;
  const fs::directory_iterator entries(folder, missing);
  return {begin(entries), end(entries)};
}

std::vector<int64_t> steps_in(const fs::path& folder) {
  std::vector<int64_t> steps;
  for (const fs::path& entry : entries_of(folder)) {
    if (const auto step = step_of(entry.filename().string())) steps.push_back(*step);
  }
  std::sort(steps.begin(), steps.end());
  return steps;
}

std::string read_text(const fs::path& path) {
  const MappedFile file(path.string());
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

/// File name → XXH3-128 of lines "<32 hex digits>  <name>", as `xxhsum -H2` writes and checks them.
std::map<std::string, std::string> read_checksums(const fs::path& path) {
  constexpr size_t kDigits = 32;
  const std::string text = read_text(path);
  std::map<std::string, std::string> hashes;
  for (size_t at = 0; at < text.size();) {
    const size_t end = text.find('\n', at);
    if (end == std::string::npos || end < at + kDigits + 3 ||
        text.compare(at + kDigits, 2, "  ") != 0) {
      throw Error(ErrorCode::kFormat, fmt::format("{}: byte {}: expected a checksum, two spaces "
                                                  "and a file name, got '{}'",
                                                  path.string(), at, text.substr(at, end - at)));
    }
    hashes[text.substr(at + kDigits + 2, end - at - kDigits - 2)] = text.substr(at, kDigits);
    at = end + 1;
  }
  return hashes;
}

void check_file(const fs::path& path, const std::map<std::string, std::string>& hashes,
                bool is_shard) {
  const auto expected = hashes.find(path.filename().string());
  if (expected == hashes.end()) {
    throw Error(ErrorCode::kFormat, (path.parent_path() / kChecksumsName).string() +
                                        ": expected a checksum of " + path.filename().string() +
                                        ", got none");
  }
  const MappedFile file(path.string(), MappedFile::Access::kSequential);
  const std::string got = hash_of(file.bytes().data(), file.bytes().size());
  if (got == expected->second) return;
  const std::string defect = is_shard ? find_defect(file) : "";
  throw Error(ErrorCode::kFormat, fmt::format("{}: bytes 0 to {}: expected checksum {}, got {}{}",
                                              path.string(), file.bytes().size(), expected->second,
                                              got, defect.empty() ? "" : "; " + defect));
}

void write_text(Storage& storage, const fs::path& path, const std::string& text) {
  const auto file = storage.create(path);
  file->write(text.data(), text.size());
  file->close();
}

FoundCheckpoint newest_whole_in(const fs::path& folder) {
  FoundCheckpoint found;
  const std::vector<int64_t> steps = steps_in(folder);
  for (auto step = steps.rbegin(); step != steps.rend() && !found.newest; ++step) {
    const fs::path candidate = folder / fmt::format("{}{}", kPrefix, *step);
    const std::string defect = find_checkpoint_defect(candidate);
    if (defect.empty()) {
      found.newest = candidate;
    } else {
      found.warnings.push_back(
          fmt::format("checkpoint {} is broken: {}", candidate.string(), defect));
      found.broken.push_back(candidate);
    }
  }
  return found;
}

}  // namespace

std::string find_checkpoint_defect(const fs::path& checkpoint) {
  try {
    const auto hashes = read_checksums(checkpoint / kChecksumsName);
    check_file(checkpoint / kMetaName, hashes, false);
    const int ranks = read_meta(checkpoint / kMetaName).ranks;
    for (int rank = 0; rank < ranks; ++rank) {
      check_file(checkpoint / shard_name(rank, ranks), hashes, true);
    }
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

fs::path resolve_checkpoint(const fs::path& path) {
  if (fs::exists(path / kMetaName)) {
    const std::string defect = find_checkpoint_defect(path);
    if (!defect.empty()) throw Error(ErrorCode::kFormat, path.string() + " is broken: " + defect);
    return path;
  }
  const fs::path below = path / "checkpoints";
  const FoundCheckpoint found = newest_whole_in(fs::is_directory(below) ? below : path);
  if (!found.newest) {
    const std::string reason = found.warnings.empty() ? "" : ": " + found.warnings.front();
    throw Error(ErrorCode::kIo, "no whole checkpoint in " + path.string() + reason);
  }
  return *found.newest;
}

CheckpointFolder::CheckpointFolder(const fs::path& output_dir, Storage& storage)
    : root_(output_dir / "checkpoints"), storage_(storage) {}

fs::path CheckpointFolder::final_path(int64_t step) const {
  return root_ / fmt::format("{}{}", kPrefix, step);
}

fs::path CheckpointFolder::temporary_path(int64_t step, int64_t attempt) const {
  return root_ / fmt::format(".{}{}.tmp-{}", kPrefix, step, attempt);
}

std::vector<int64_t> CheckpointFolder::steps() const { return steps_in(root_); }

void CheckpointFolder::remove_stale() {
  for (const fs::path& entry : entries_of(root_)) {
    const std::string name = entry.filename().string();
    if (name.starts_with(fmt::format(".{}", kPrefix)) && name.find(".tmp-") != std::string::npos) {
      storage_.remove_all(entry);
    }
  }
  recover_replaced();
}

/// Of a checkpoint that was being replaced where names can't be exchanged.
void CheckpointFolder::recover_replaced() {
  for (const fs::path& entry : entries_of(root_)) {
    if (entry.extension() != kReplaced || !step_of(entry.stem().string())) continue;
    const fs::path final = root_ / entry.stem();
    fs::exists(final) ? storage_.remove_all(entry) : storage_.rename(entry, final);
  }
}

FoundCheckpoint CheckpointFolder::find_newest_whole() const { return newest_whole_in(root_); }

void CheckpointFolder::set_aside(const fs::path& checkpoint, const std::string& reason) {
  fs::path aside;
  for (int k = 1; aside.empty() || fs::exists(aside); ++k) {
    aside = fmt::format("{}.{}-{}", checkpoint.string(), reason, k);
  }
  storage_.rename(checkpoint, aside);
  storage_.sync_directory(root_);
}

void CheckpointFolder::commit(const CheckpointMeta& meta) {
  const fs::path temporary = temporary_path(meta.step, meta.attempt);
  const std::string text = write_meta(meta);
  write_text(storage_, temporary / kMetaName, text);
  std::string checksums = fmt::format("{}  {}\n", hash_of(text.data(), text.size()), kMetaName);
  for (int rank = 0; rank < meta.ranks; ++rank) {
    const fs::path one = temporary / (shard_name(rank, meta.ranks) + ".xxh3");
    checksums += read_text(one);
    storage_.remove_all(one);
  }
  write_text(storage_, temporary / kChecksumsName, checksums);
  storage_.sync_directory(temporary);
  put_in_place(temporary, final_path(meta.step));
}

/// At every moment one of the two is whole under its name, or else comes back under it.
void CheckpointFolder::put_in_place(const fs::path& temporary, const fs::path& final) {
  fs::path older;
  if (fs::exists(final)) {
    older = temporary;
    if (!storage_.exchange(temporary, final)) {
      older = final;
      older += kReplaced;
      storage_.rename(final, older);
    }
  }
  if (older != temporary) storage_.rename(temporary, final);
  storage_.sync_directory(root_);
  if (!older.empty()) storage_.remove_all(older);
}

void CheckpointFolder::keep_newest(int64_t keep, int64_t step) {
  std::vector<int64_t> old = steps();
  std::erase_if(old, [&](int64_t other) { return other > step; });
  for (size_t i = 0; i + static_cast<size_t>(keep) < old.size(); ++i) {
    const fs::path removed = root_ / fmt::format(".{}{}.tmp-removed", kPrefix, old[i]);
    storage_.rename(final_path(old[i]), removed);  // never half a checkpoint under its name
    storage_.remove_all(removed);
  }
}

}  // namespace wattle
