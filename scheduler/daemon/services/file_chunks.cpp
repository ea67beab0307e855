#include "scheduler/daemon/services/file_chunks.h"

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include "scheduler/daemon/services/caller.h"
#include "scheduler/rpc/wattle.grpc.pb.h"

namespace wattle::scheduler {

StoredFile to_stored(const v1::FileRef& file) {
  return {file.path(), file.sha256(), file.size_bytes()};
}

v1::FileRef receive_file(grpc::ServerReader<v1::FileChunk>& reader, const FileStore& files) {
  v1::FileChunk chunk;
  if (!reader.Read(&chunk) || !chunk.has_file()) {
    throw Refusal(RefusalCode::kInvalid, "the first piece of a file must say which one it is");
  }
  const v1::FileRef file = chunk.file();
  if (const std::string fault = fault_of_job_path(file.path()); !fault.empty()) {
    throw Refusal(RefusalCode::kInvalid, fmt::format("file '{}': {}", file.path(), fault));
  }
  if (file.size_bytes() < 0 || file.size_bytes() > kMostFileBytes) {
    throw Refusal(RefusalCode::kInvalid,
                  fmt::format("file '{}': expected 0 to {} bytes, got {}", file.path(),
                              kMostFileBytes, file.size_bytes()));
  }
  FileStore::Incoming incoming(files, to_stored(file));
  do {
    incoming.write(chunk.data());
  } while (reader.Read(&chunk));
  incoming.commit();
  return file;
}

}  // namespace wattle::scheduler
