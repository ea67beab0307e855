#include "scheduler/rpc/credentials.h"

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <fstream>
#include <iterator>

#include "common/error.h"

namespace wattle::scheduler {
namespace {

constexpr int kKeepaliveMs = 5000;
constexpr int kKeepaliveTimeoutMs = 5000;
constexpr int kHandshakeMs = 5000;  ///< gRPC gives one attempt to connect this long

std::string read_file(const std::string& key, const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (file.bad() || text.empty()) {
    throw Error(ErrorCode::kIo, fmt::format("tls.{}: {} can't be read, or is empty", key, path));
  }
  return text;
}

void require_loopback(const std::string& address) {
  if (is_loopback(address)) return;
  throw Error(
      ErrorCode::kConfig,
      fmt::format("insecure_loopback: works on a loopback address alone, not on {}", address));
}

/// The certificate's URI names.
std::vector<std::string> uri_names(X509& certificate) {
  std::vector<std::string> uris;
  const std::unique_ptr<GENERAL_NAMES, void (*)(GENERAL_NAMES*)> names(
      static_cast<GENERAL_NAMES*>(
          X509_get_ext_d2i(&certificate, NID_subject_alt_name, nullptr, nullptr)),
      GENERAL_NAMES_free);
  for (int i = 0; names && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type != GEN_URI) continue;
    const ASN1_IA5STRING* uri = name->d.uniformResourceIdentifier;
    uris.emplace_back(reinterpret_cast<const char*>(ASN1_STRING_get0_data(uri)),
                      static_cast<size_t>(ASN1_STRING_length(uri)));
  }
  return uris;
}

Identity only_identity(const std::vector<std::string>& uris) {
  if (uris.size() != 1) {
    throw Error(ErrorCode::kFormat,
                fmt::format("the certificate has {} URI names, expected exactly one: "
                            "`wattle certs issue` makes it so",
                            uris.size()));
  }
  return parse_spiffe_id(uris.front());
}

}  // namespace

std::shared_ptr<grpc::ServerCredentials> server_credentials(const LinkSecurity& security,
                                                            const std::string& listen) {
  if (security.insecure_loopback) {
    require_loopback(listen);
    return grpc::InsecureServerCredentials();
  }
  const TlsFiles& tls = security.tls;
  if (certificate_identity(tls.cert).kind != Identity::Kind::kDaemon) {
    throw Error(
        ErrorCode::kConfig,
        fmt::format("tls.cert: {} is not the daemon's: `wattle certs issue daemon` makes it",
                    tls.cert));
  }
  grpc::SslServerCredentialsOptions options(
      GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  options.pem_root_certs = read_file("ca", tls.ca);
  options.pem_key_cert_pairs.push_back({read_file("key", tls.key), read_file("cert", tls.cert)});
  return grpc::SslServerCredentials(options);
}

std::shared_ptr<grpc::Channel> open_channel(const std::string& server,
                                            const LinkSecurity& security) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMostAnswerBytes);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kHandshakeMs);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2000);
  // Channels of one process to one server must not share a connection behind our back.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  if (security.insecure_loopback) {
    require_loopback(server);
    return grpc::CreateCustomChannel(server, grpc::InsecureChannelCredentials(), arguments);
  }
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = read_file("ca", security.tls.ca);
  options.pem_private_key = read_file("key", security.tls.key);
  options.pem_cert_chain = read_file("cert", security.tls.cert);
  return grpc::CreateCustomChannel(server, grpc::SslCredentials(options), arguments);
}

Identity peer_identity(const grpc::AuthContext& context) {
  if (!context.IsPeerAuthenticated()) {
    Identity local;
    local.site = "local";
    local.name = "local";
    local.tenant = "default";
    local.role = Role::kOperator;
    return local;
  }
  std::vector<std::string> uris;
  for (const grpc::string_ref& uri : context.FindPropertyValues(GRPC_PEER_URI_PROPERTY_NAME)) {
    uris.emplace_back(uri.data(), uri.size());
  }
  return only_identity(uris);
}

Identity certificate_identity(const std::string& path) {
  const std::string pem = read_file("cert", path);
  const std::unique_ptr<BIO, int (*)(BIO*)> bio(
      BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), BIO_free);
  const std::unique_ptr<X509, void (*)(X509*)> certificate(
      PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr), X509_free);
  if (!certificate) {
    throw Error(ErrorCode::kFormat, fmt::format("{}: is no certificate in PEM", path));
  }
  try {
    return only_identity(uri_names(*certificate));
  } catch (const Error& e) {
    throw Error(ErrorCode::kFormat, fmt::format("{}: {}", path, e.what()));
  }
}

}  // namespace wattle::scheduler
