#include "scheduler/agent/files/file_transfer.h"

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

#include "common/atomic_file.h"
#include "common/error.h"
#include "scheduler/digest/sha256.h"
#include "scheduler/rpc/agent.grpc.pb.h"

namespace wattle::agent {
namespace {

namespace fs = std::filesystem;

constexpr size_t kChunkBytes = 1 << 20;
/// A transfer that moves slower than this is given up.
constexpr double kLeastBytesPerSecond = 1 << 20;
constexpr double kLeastSeconds = 60;
constexpr std::chrono::milliseconds kFirstPause{100}, kLongestPause{5000};

void set_deadline(grpc::ClientContext& context, int64_t bytes) {
  const double seconds = kLeastSeconds + static_cast<double>(bytes) / kLeastBytesPerSecond;
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::milliseconds(static_cast<int64_t>(1000 * seconds)));
}

void check(const grpc::Status& status, const std::string& what) {
  if (status.ok()) return;
  throw Error(ErrorCode::kCommunication,
              fmt::format("{}: the daemon says: {}", what, status.error_message()));
}

/// The daemon is stopped, killed, or cut off: it may come back.
bool is_out_of_reach(const grpc::Status& status) {
  return status.error_code() == grpc::StatusCode::UNAVAILABLE ||
         status.error_code() == grpc::StatusCode::CANCELLED;
}

int64_t size_of(const std::string& path) {
  std::error_code error;
  const auto size = fs::file_size(path, error);
  if (error) throw Error(ErrorCode::kIo, fmt::format("{}: {}", path, error.message()));
  return static_cast<int64_t>(size);
}

/// Reads a file's first `bytes` in pieces.
template <class Take>
void read_pieces(const std::string& path, int64_t bytes, Take&& take) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw Error(ErrorCode::kIo, fmt::format("{}: can't be read", path));
  std::string piece(kChunkBytes, '\0');
  for (int64_t left = bytes; left > 0;) {
    file.read(piece.data(), std::min(static_cast<std::streamsize>(piece.size()), left));
    if (file.bad() || file.gcount() == 0) {
      throw Error(ErrorCode::kIo,
                  fmt::format("{}: expected {} bytes, got {}", path, bytes,
                              file.bad() ? "an error" : std::to_string(bytes - left)));
    }
    if (!take(std::string_view(piece.data(), static_cast<size_t>(file.gcount())))) return;
    left -= file.gcount();
  }
}

}  // namespace

std::string path_below(const std::string& folder, const std::string& path) {
  const fs::path relative(path);
  bool leaves = path.empty() || relative.is_absolute() || path.find('\0') != std::string::npos;
  for (const fs::path& part : relative) leaves = leaves || part == "..";
  if (leaves) {
    throw Error(ErrorCode::kFormat,
                fmt::format("\"{}\": expected a path inside the job's folder", path));
  }
  return fs::path(folder) / relative;
}

std::string sha256_of(const std::string& path, int64_t bytes, const std::stop_token& gives_up) {
  scheduler::Sha256 sum;
  read_pieces(path, bytes, [&](std::string_view piece) {
    sum.add(piece);
    return !gives_up.stop_requested();
  });
  if (gives_up.stop_requested()) throw Error(ErrorCode::kIo, path + ": is given up");
  return sum.digits();
}

bool is_there(const std::string& path, const v1::FileRef& ref, Growth growth) {
  std::error_code error;
  const auto size = fs::file_size(path, error);
  const auto expected = static_cast<uintmax_t>(ref.size_bytes());
  if (error || size < expected || (size > expected && growth == Growth::kNone)) return false;
  return sha256_of(path, ref.size_bytes()) == ref.sha256();
}

void FileTransfer::fetch(const v1::FileRef& ref, const std::string& folder, Growth growth,
                         const std::optional<Account>& account,
                         const std::atomic<bool>& gives_up) const {
  const std::string path = path_below(folder, ref.path());
  const AsUser as_user(account);
  if (is_there(path, ref, growth)) return;
  std::error_code error;
  fs::create_directories(fs::path(path).parent_path(), error);
  if (error) throw Error(ErrorCode::kIo, fmt::format("{}: {}", path, error.message()));
  auto pause = kFirstPause;
  while (true) {
    const grpc::Status status = try_fetch(ref, path, gives_up);
    if (status.ok()) return;
    if (!is_out_of_reach(status) || gives_up) check(status, fmt::format("fetching {}", ref.path()));
    for (auto left = pause; left.count() > 0 && !gives_up; left -= kFirstPause) {
      std::this_thread::sleep_for(kFirstPause);
    }
    pause = std::min(2 * pause, kLongestPause);
  }
}

grpc::Status FileTransfer::try_fetch(const v1::FileRef& ref, const std::string& path,
                                     const std::atomic<bool>& gives_up) const {
  grpc::ClientContext context;
  set_deadline(context, ref.size_bytes());
  const auto stub = v1::Agent::NewStub(channel_);
  const auto reader = stub->Fetch(&context, ref);
  AtomicFile file(path);
  scheduler::Sha256 sum;
  v1::FileChunk chunk;
  try {
    while (reader->Read(&chunk)) {
      file.write(chunk.data());
      sum.add(chunk.data());
      if (gives_up || file.offset() > static_cast<uint64_t>(ref.size_bytes())) context.TryCancel();
    }
  } catch (...) {
    context.TryCancel();
    reader->Finish();
    throw;
  }
  const grpc::Status status = reader->Finish();
  if (file.offset() <= static_cast<uint64_t>(ref.size_bytes()) && !status.ok()) return status;
  const std::string digits = sum.digits();
  if (digits != ref.sha256()) {
    throw Error(ErrorCode::kFormat,
                fmt::format("{}: expected content {}, got {}", ref.path(), ref.sha256(), digits));
  }
  file.commit();
  return status;
}

v1::FileRef FileTransfer::store(const std::string& folder, const std::string& path,
                                const std::optional<Account>& account,
                                const std::stop_token& gives_up) const {
  const std::string whole = path_below(folder, path);
  const AsUser as_user(account);
  v1::FileChunk chunk;
  chunk.mutable_file()->set_path(path);
  chunk.mutable_file()->set_size_bytes(size_of(whole));
  chunk.mutable_file()->set_sha256(sha256_of(whole, chunk.file().size_bytes(), gives_up));
  const v1::FileRef ref = chunk.file();
  grpc::ClientContext context;
  set_deadline(context, ref.size_bytes());
  const std::stop_callback cancel(gives_up, [&context] { context.TryCancel(); });
  const auto stub = v1::Agent::NewStub(channel_);
  v1::FileRef stored;
  const auto writer = stub->Store(&context, &stored);
  bool goes_on = writer->Write(chunk);  // the name alone: the daemon may refuse it
  chunk.clear_file();
  try {
    read_pieces(whole, ref.size_bytes(), [&](std::string_view piece) {
      if (goes_on) chunk.set_data(piece.data(), piece.size());
      return goes_on && (goes_on = writer->Write(chunk));
    });
  } catch (...) {
    context.TryCancel();
    writer->Finish();
    throw;
  }
  writer->WritesDone();
  check(writer->Finish(), fmt::format("storing {}", path));
  return ref;
}

}  // namespace wattle::agent
