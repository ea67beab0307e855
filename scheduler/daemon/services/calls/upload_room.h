#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "scheduler/rpc/wattle.pb.h"
#include "scheduler/store/store.h"

namespace wattle::scheduler {

class Daemon;

/// How many files that no job names, and bytes of them, each tenant may have with the daemon: on
/// their way, or waiting for a job. Members may be called from any thread.
class UploadRoom {
 public:
  explicit UploadRoom(Daemon& daemon);
  UploadRoom(const UploadRoom&) = delete;
  UploadRoom& operator=(const UploadRoom&) = delete;

  /// Room for a file on its way, as long as it lives; `UploadRoom` must outlive it.
  class Share {
   public:
    Share(UploadRoom& room, const std::string& tenant, int64_t bytes)
        : room_(room), tenant_(tenant), bytes_(bytes) {}
    ~Share() { room_.leave(tenant_, bytes_); }
    Share(const Share&) = delete;
    Share& operator=(const Share&) = delete;

   private:
    UploadRoom& room_;
    std::string tenant_;
    int64_t bytes_;
  };

  /// Takes a share of it. Throws Refusal(kExhausted), with what is there and what to do, if there
  /// is none. A file that comes again counts once.
  void take(std::optional<Share>& share, const std::string& tenant, const v1::FileRef& file);

 private:
  void leave(const std::string& tenant, int64_t bytes);

  Daemon& daemon_;
  int64_t most_bytes_;
  std::mutex mutex_;
  std::map<std::string, FileSum> coming_;
};

}  // namespace wattle::scheduler
