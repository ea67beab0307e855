#include "scheduler/daemon/services/agent_service.h"

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <fstream>
#include <thread>

#include "scheduler/daemon/services/agent_stream.h"
#include "scheduler/daemon/services/calls/agent_message.h"
#include "scheduler/daemon/services/calls/caller.h"
#include "scheduler/daemon/services/calls/deadline.h"
#include "scheduler/daemon/services/calls/file_chunks.h"
#include "scheduler/rpc/agent.grpc.pb.h"

namespace wattle::scheduler {
namespace {

using Stream = grpc::ServerReaderWriter<v1::Command, v1::AgentMessage>;
constexpr auto kRegistrationTime = std::chrono::seconds(5);

class AgentService : public v1::Agent::Service {
 public:
  explicit AgentService(Daemon& daemon) : daemon_(daemon) {}

  grpc::Status Attach(grpc::ServerContext* context, Stream* stream) override {
    Caller caller(daemon_, *context, "Attach");
    return caller.answer([&] { serve(caller, *context, *stream); });
  }

  grpc::Status Fetch(grpc::ServerContext* context, const v1::FileRef* request,
                     grpc::ServerWriter<v1::FileChunk>* writer) override {
    Caller caller(daemon_, *context, "Fetch");
    return caller.answer([&] {
      require_node(caller);
      std::ifstream file(daemon_.files().path_of(request->sha256()), std::ios::binary);
      v1::FileChunk chunk;
      *chunk.mutable_file() = *request;
      std::string piece(kChunkBytes, '\0');
      do {
        file.read(piece.data(), static_cast<std::streamsize>(piece.size()));
        chunk.set_data(piece.data(), static_cast<size_t>(file.gcount()));
        if (!writer->Write(chunk)) return;
        chunk.clear_file();
      } while (file);
    });
  }

  grpc::Status Store(grpc::ServerContext* context, grpc::ServerReader<v1::FileChunk>* reader,
                     v1::FileRef* response) override {
    Caller caller(daemon_, *context, "Store");
    return caller.answer([&] {
      require_node(caller);
      *response = receive_file(daemon_, *context, *reader, KnownContent::kIsNotSent);
    });
  }

 private:
  void require_node(const Caller& caller) const {
    const Identity& peer = caller.identity();
    const bool is_local = daemon_.options().security.insecure_loopback;
    if (peer.kind == Identity::Kind::kNode || is_local) return;
    throw Refusal(RefusalCode::kPermission, "only a node's agent may do this");
  }

  v1::Registration registration_of(const Caller& caller, grpc::ServerContext& context,
                                   Stream& stream) {
    Deadline deadline(context, kRegistrationTime);
    v1::AgentMessage first;
    if (!stream.Read(&first) || !first.has_registration()) {
      throw Refusal(RefusalCode::kInvalid, "expected a registration within 5 s");
    }
    require_sound(first);
    const std::string& node = first.registration().node();
    if (caller.identity().kind == Identity::Kind::kNode && node != caller.identity().name) {
      throw Refusal(
          RefusalCode::kPermission,
          fmt::format("the certificate is for node {}, not for {}", caller.identity().name, node));
    }
    return first.registration();
  }

  void serve(const Caller& caller, grpc::ServerContext& context, Stream& stream) {
    require_node(caller);
    const v1::Registration registration = registration_of(caller, context, stream);
    const auto outbox = std::make_shared<Outbox>();
    // A refusal leaves here as the call's status: nothing may have cancelled the call before.
    AgentStream agent(daemon_, registration, outbox);
    std::atomic<bool> is_over = false;
    // Writes until the outbox is closed; that ends the reads as well.
    std::thread writer([&] {
      while (const auto command = outbox->take()) {
        if (!stream.Write(*command)) break;
      }
      outbox->close();
      if (!is_over) context.TryCancel();
    });
    try {
      caller.audit(registration.node(), "registered");
      v1::AgentMessage message;
      while (stream.Read(&message)) agent.take(message);
    } catch (...) {
      is_over = true;
      outbox->close();
      writer.join();
      throw;
    }
    outbox->close();
    writer.join();
  }

  Daemon& daemon_;
};

}  // namespace

std::unique_ptr<grpc::Service> make_agent_service(Daemon& daemon) {
  return std::make_unique<AgentService>(daemon);
}

}  // namespace wattle::scheduler
