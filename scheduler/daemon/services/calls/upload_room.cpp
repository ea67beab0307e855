#include "scheduler/daemon/services/calls/upload_room.h"

#include <fmt/format.h>

#include "common/text.h"
#include "scheduler/daemon/daemon.h"
#include "scheduler/daemon/services/calls/caller.h"

namespace wattle::scheduler {

UploadRoom::UploadRoom(Daemon& daemon)
    : daemon_(daemon), most_bytes_(daemon.options().uploads_gigabytes * 1'000'000'000) {}

/// What waits is read with the room locked: a file that has come is there before it leaves.
void UploadRoom::take(std::optional<Share>& share, const std::string& tenant,
                      const v1::FileRef& file) {
  const std::lock_guard lock(mutex_);
  const int64_t waiting = daemon_.core().read_store(
      [&](Store& store) { return store.waiting_bytes(tenant, file.sha256()); });
  const auto found = coming_bytes_.find(tenant);
  const int64_t coming = found == coming_bytes_.end() ? 0 : found->second;
  if (waiting + coming + file.size_bytes() > most_bytes_) {
    throw Refusal(
        RefusalCode::kExhausted,
        fmt::format("file '{}': it has {} bytes, and tenant {} has {} bytes of other files here "
                    "that no job names yet, {} of them on their way; at most {} are taken: hand "
                    "in the jobs that need them, or wait, for they are removed after a day, or "
                    "ask the operator (uploads_gigabytes)",
                    brief(file.path()), file.size_bytes(), tenant, waiting + coming, coming,
                    most_bytes_));
  }
  share.emplace(*this, tenant, file.size_bytes());
  coming_bytes_[tenant] = coming + file.size_bytes();
}

void UploadRoom::leave(const std::string& tenant, int64_t bytes) {
  const std::lock_guard lock(mutex_);
  const auto coming = coming_bytes_.find(tenant);
  coming->second -= bytes;
  if (coming->second == 0) coming_bytes_.erase(coming);
}

}  // namespace wattle::scheduler
