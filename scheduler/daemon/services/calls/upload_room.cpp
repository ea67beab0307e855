#include "scheduler/daemon/services/calls/upload_room.h"

#include <fmt/format.h>

#include "common/text.h"
#include "scheduler/daemon/daemon.h"
#include "scheduler/daemon/services/calls/caller.h"

namespace wattle::scheduler {
namespace {

/// Of one tenant: each takes a record and an entry of the disk, however small it is.
constexpr int64_t kMostFiles = 20'000;

}  // namespace

UploadRoom::UploadRoom(Daemon& daemon)
    : daemon_(daemon), most_bytes_(daemon.options().uploads_gigabytes * 1'000'000'000) {}

/// What waits is read with the room locked: a file that has come is there before it leaves.
void UploadRoom::take(std::optional<Share>& share, const std::string& tenant,
                      const v1::FileRef& file) {
  const std::lock_guard lock(mutex_);
  FileSum others =
      daemon_.core().read_store([&](Store& store) { return store.waiting(tenant, file.sha256()); });
  const FileSum coming = coming_.contains(tenant) ? coming_.at(tenant) : FileSum{};
  others.files += coming.files;
  others.bytes += coming.bytes;
  if (others.files >= kMostFiles || others.bytes + file.size_bytes() > most_bytes_) {
    throw Refusal(
        RefusalCode::kExhausted,
        fmt::format("file '{}': it has {} bytes, and tenant {} has {} other files of {} bytes here "
                    "that no job names yet, {} bytes of them on their way; at most {} files of {} "
                    "bytes are taken: hand in the jobs that need them, or wait, for they are "
                    "removed after a day, or ask the operator (uploads_gigabytes)",
                    brief(file.path()), file.size_bytes(), tenant, others.files, others.bytes,
                    coming.bytes, kMostFiles, most_bytes_));
  }
  share.emplace(*this, tenant, file.size_bytes());
  coming_[tenant] = {coming.files + 1, coming.bytes + file.size_bytes()};
}

void UploadRoom::leave(const std::string& tenant, int64_t bytes) {
  const std::lock_guard lock(mutex_);
  const auto coming = coming_.find(tenant);
  coming->second.bytes -= bytes;
  if (--coming->second.files == 0) coming_.erase(coming);
}

}  // namespace wattle::scheduler
