#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include "scheduler/agent/processes/as_user.h"
#include "scheduler/rpc/wattle.pb.h"

namespace grpc {
class Channel;
class Status;
}  // namespace grpc

namespace wattle::agent {

/// Where `ref` lies below `folder`. Throws Error(kFormat) if its path is absolute, empty, or would
/// leave the folder.
std::string path_below(const std::string& folder, const std::string& path);

/// Of a file's first `bytes`, in lower-case hexadecimal digits. Throws Error(kIo), also if the file
/// is shorter.
std::string sha256_of(const std::string& path, int64_t bytes, const std::stop_token& gives_up = {});

/// What may happen to a file besides being written once.
enum class Growth { kNone, kAppended };

/// Whether the file at `path` has the content of `ref`, or begins with it and has grown
/// (kAppended). Throws Error(kIo) if it can't be read.
bool is_there(const std::string& path, const v1::FileRef& ref, Growth growth);

/// Files to and from the daemon, by their content. May be used by several threads.
class FileTransfer {
 public:
  explicit FileTransfer(std::shared_ptr<grpc::Channel> channel) : channel_(std::move(channel)) {}

  /// Brings the file to its place below `folder`, as `account`, unless what is there has that
  /// content already, or began with it and has grown since (kAppended). It appears whole or not at
  /// all. Tries again while the daemon is out of reach, until `gives_up` becomes true. Throws
  /// Error(kCommunication) if the daemon does not give it, Error(kIo) if it can't be written,
  /// Error(kFormat) on another content or a path that leaves the folder.
  void fetch(const v1::FileRef& ref, const std::string& folder, Growth growth,
             const std::optional<Account>& account, const std::atomic<bool>& gives_up) const;

  /// Gives `folder`/`path`, read as `account`, to the daemon and says what it is called: the file
  /// as it is at the call; what is appended to it meanwhile is left out. Throws like fetch(), also
  /// soon after `gives_up` is requested.
  v1::FileRef store(const std::string& folder, const std::string& path,
                    const std::optional<Account>& account, const std::stop_token& gives_up) const;

 private:
  /// One try: how the call ended, and the file in its place if that is well.
  grpc::Status try_fetch(const v1::FileRef& ref, const std::string& path,
                         const std::atomic<bool>& gives_up) const;

  std::shared_ptr<grpc::Channel> channel_;
};

}  // namespace wattle::agent
