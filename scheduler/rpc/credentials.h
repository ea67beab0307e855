#pragma once

#include <memory>
#include <string>

#include "scheduler/config/tls_files.h"
#include "scheduler/rpc/identity.h"

namespace grpc {
class AuthContext;
class Channel;
class ServerCredentials;
}  // namespace grpc

namespace wattle::scheduler {

/// No message to the daemon is larger; a larger one is refused with RESOURCE_EXHAUSTED.
inline constexpr int kMostMessageBytes = 4 << 20;
/// What the daemon sends may be more: a launch names all nodes and files of its run.
inline constexpr int kMostAnswerBytes = 16 << 20;

/// What a server listens with: mutual TLS, clients without a certificate of the site's authority
/// are turned away in the handshake. Without TLS only if `insecure_loopback` says so and `listen`
/// is a loopback address.
///
/// Throws Error(kIo) if a file can't be read, Error(kConfig) if the certificate is not the
/// daemon's or the address is no loopback address.
std::shared_ptr<grpc::ServerCredentials> server_credentials(const LinkSecurity& security,
                                                            const std::string& listen);

/// A channel to the daemon at HOST:PORT. The daemon must show a certificate of the site's authority
/// for HOST. Connects with the first call; keepalives end a connection whose other side is silent.
///
/// Throws Error(kIo) if a file can't be read, Error(kConfig) if the address is no loopback address
/// with `insecure_loopback`.
std::shared_ptr<grpc::Channel> open_channel(const std::string& server,
                                            const LinkSecurity& security);

/// Who is at the other end, from the certificate's only URI name. Throws Error(kFormat) if it is
/// not one of Wattle's. Where there is no TLS (`insecure_loopback`), everyone is operator "local"
/// of tenant "default".
Identity peer_identity(const grpc::AuthContext& context);

/// Whose a certificate file is. Throws Error(kIo) or Error(kFormat).
Identity certificate_identity(const std::string& path);

}  // namespace wattle::scheduler
