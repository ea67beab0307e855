#pragma once

#include <cstddef>
#include <functional>

#include "scheduler/rpc/wattle.pb.h"
#include "scheduler/store/file_store.h"

namespace grpc {
class ServerContext;
template <class R>
class ServerReader;
}  // namespace grpc

namespace wattle::scheduler {

class Daemon;

inline constexpr size_t kChunkBytes = 1 << 20;
inline constexpr int64_t kMostFileBytes = int64_t{64} << 30;

/// Whether content that the store has is sent again: a user who is spared it would learn what
/// others have.
enum class KnownContent { kIsSent, kIsNotSent };

/// Takes one file into the store, as long as the disk has room for what is announced. `admit` is
/// told of that, and throws if it is not to come. Throws Refusal for a stream that names no file or
/// has stalled (then the call is cancelled, too), Error as Daemon::require_room() and
/// FileStore::Incoming do.
v1::FileRef receive_file(Daemon& daemon, grpc::ServerContext& context,
                         grpc::ServerReader<v1::FileChunk>& reader, KnownContent known,
                         const std::function<void(const v1::FileRef&)>& admit = {});

StoredFile to_stored(const v1::FileRef& file);

}  // namespace wattle::scheduler
