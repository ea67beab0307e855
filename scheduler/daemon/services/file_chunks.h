#pragma once

#include <cstddef>

#include "scheduler/rpc/wattle.pb.h"
#include "scheduler/store/file_store.h"

namespace grpc {
template <class R>
class ServerReader;
}

namespace wattle::scheduler {

inline constexpr size_t kChunkBytes = 1 << 20;
inline constexpr int64_t kMostFileBytes = int64_t{64} << 30;

/// Takes one file into the store. Throws Refusal for a stream that names none, Error as
/// FileStore::Incoming does.
v1::FileRef receive_file(grpc::ServerReader<v1::FileChunk>& reader, const FileStore& files);

StoredFile to_stored(const v1::FileRef& file);

}  // namespace wattle::scheduler
