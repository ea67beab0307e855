#include "scheduler/daemon/services/calls/file_chunks.h"

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>

#include "common/text.h"
#include "scheduler/daemon/daemon.h"
#include "scheduler/daemon/services/calls/caller.h"
#include "scheduler/daemon/services/calls/deadline.h"
#include "scheduler/rpc/wattle.grpc.pb.h"

namespace wattle::scheduler {
namespace {

/// The pieces of one file, none of them later than the daemon's patience.
class Pieces {
 public:
  Pieces(Daemon& daemon, grpc::ServerContext& context, grpc::ServerReader<v1::FileChunk>& reader)
      : seconds_(daemon.options().upload_idle_seconds),
        reader_(reader),
        idle_(context, std::chrono::milliseconds(static_cast<int64_t>(1000 * seconds_))) {}

  /// The next one; nullptr after the last.
  const v1::FileChunk* next() {
    const bool is_there = reader_.Read(&piece_);
    if (idle_.renew()) return is_there ? &piece_ : nullptr;
    throw Refusal(RefusalCode::kDeadline,
                  fmt::format("nothing of the file has come for {} s: it is given up", seconds_));
  }

 private:
  double seconds_;
  grpc::ServerReader<v1::FileChunk>& reader_;
  v1::FileChunk piece_;
  Deadline idle_;
};

v1::FileRef announced(const v1::FileChunk* first) {
  if (!first || !first->has_file()) {
    throw Refusal(RefusalCode::kInvalid, "the first piece of a file must say which one it is");
  }
  const v1::FileRef& file = first->file();
  if (const std::string fault = fault_of_job_path(file.path()); !fault.empty()) {
    throw Refusal(RefusalCode::kInvalid, fmt::format("file '{}': {}", brief(file.path()), fault));
  }
  if (file.size_bytes() < 0 || file.size_bytes() > kMostFileBytes) {
    throw Refusal(RefusalCode::kInvalid,
                  fmt::format("file '{}': expected 0 to {} bytes, got {}", brief(file.path()),
                              kMostFileBytes, file.size_bytes()));
  }
  return file;
}

}  // namespace

StoredFile to_stored(const v1::FileRef& file) {
  return {file.path(), file.sha256(), file.size_bytes()};
}

v1::FileRef receive_file(Daemon& daemon, grpc::ServerContext& context,
                         grpc::ServerReader<v1::FileChunk>& reader, KnownContent known,
                         const std::function<void(const v1::FileRef&)>& admit) {
  Pieces pieces(daemon, context, reader);
  const v1::FileChunk* piece = pieces.next();
  const v1::FileRef file = announced(piece);
  if (known == KnownContent::kIsNotSent && daemon.files().renew(file.sha256())) return file;
  daemon.require_room(file.size_bytes());
  if (admit) admit(file);
  FileStore::Incoming incoming(daemon.files(), to_stored(file));
  int64_t received = 0, checked = 0;
  for (; piece; piece = pieces.next()) {
    received += static_cast<int64_t>(piece->data().size());
    if (received >= checked + static_cast<int64_t>(kChunkBytes)) {
      checked = received;  // others fill the disk meanwhile
      daemon.require_room(std::max<int64_t>(0, file.size_bytes() - received));
    }
    incoming.write(piece->data());
  }
  incoming.commit();
  return file;
}

}  // namespace wattle::scheduler
