#include "launch/wattle/certs/authority.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <memory>
#include <utility>

#include "common/error.h"

namespace wattle {
namespace {

using scheduler::Identity;

constexpr std::string_view kScheme = "spiffe://";
constexpr double kBackdatedSeconds = 300;
constexpr int kSerialBits = 159;  // at most 20 bytes and positive (RFC 5280, 4.1.2.2)

template <auto Free>
struct Freed {
  template <class T>
  void operator()(T* handle) const {
    Free(handle);
  }
};
using Key = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY_free>>;
using Certificate = std::unique_ptr<X509, Freed<X509_free>>;
using Names = std::unique_ptr<GENERAL_NAMES, Freed<GENERAL_NAMES_free>>;
using Memory = std::unique_ptr<BIO, Freed<BIO_free_all>>;
using File = std::unique_ptr<FILE, Freed<std::fclose>>;

[[noreturn]] void fail(const char* what) {
  char text[256] = "no reason given";
  if (const unsigned long code = ERR_get_error()) ERR_error_string_n(code, text, sizeof text);
  throw Error(ErrorCode::kInternal, fmt::format("certificate: {}: {}", what, text));
}

/// Passes a handle or a positive result on.
template <class T>
T must(T result, const char* what) {
  if (!(result > T{})) fail(what);
  return result;
}

std::string join(const std::string& folder, const std::string& name) {
  return (std::filesystem::path(folder) / name).string();
}

/// A file that may not exist yet; removed again unless it is kept.
class NewFile {
 public:
  NewFile(std::string path, const std::string& content) : path_(std::move(path)) {
    const int fd = open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 && errno == EEXIST) {
      path_.swap(kept_);
      throw Error(ErrorCode::kConfig,
                  fmt::format("{} is there already and is never overwritten: move it away, or "
                              "choose another name or --dir",
                              kept_));
    }
    if (fd < 0) refuse("can't be made");
    const ssize_t written = write(fd, content.data(), content.size());
    const bool whole = written == static_cast<ssize_t>(content.size()) && fsync(fd) == 0;
    if (close(fd) != 0 || !whole) {
      unlink(path_.c_str());
      refuse("can't be written");
    }
  }
  ~NewFile() {
    if (!path_.empty()) unlink(path_.c_str());
  }
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;
  std::string keep() { return std::exchange(path_, {}); }

 private:
  [[noreturn]] void refuse(const char* what) {
    throw Error(ErrorCode::kIo, fmt::format("{} {}: {}", path_, what, std::strerror(errno)));
  }
  std::string path_, kept_;
};

std::string pem_of(const Certificate& certificate, const Key& key, bool private_part) {
  const Memory memory(must(BIO_new(BIO_s_mem()), "memory"));
  must(private_part ? PEM_write_bio_PKCS8PrivateKey(memory.get(), key.get(), nullptr, nullptr, 0,
                                                    nullptr, nullptr)
                    : PEM_write_bio_X509(memory.get(), certificate.get()),
       "encoding");
  char* data = nullptr;
  const long size = BIO_get_mem_data(memory.get(), &data);
  return {data, static_cast<size_t>(size)};
}

CertificateFiles write_files(const std::string& folder, const std::string& stem,
                             const Certificate& certificate, const Key& key) {
  NewFile key_file(join(folder, stem + ".key"), pem_of(certificate, key, true));
  NewFile certificate_file(join(folder, stem + ".crt"), pem_of(certificate, key, false));
  return {certificate_file.keep(), key_file.keep()};
}

/// Opens a file of PEM text; what it holds is read with `read`.
template <class T, class Read>
T read_pem(const std::string& path, const char* expected, Read read) {
  const File file(std::fopen(path.c_str(), "re"));
  if (!file) throw Error(ErrorCode::kIo, fmt::format("{}: {}", path, std::strerror(errno)));
  T handle(read(file.get(), nullptr, nullptr, nullptr));
  ERR_clear_error();
  if (!handle) {
    throw Error(ErrorCode::kFormat, fmt::format("{}: expected {} as PEM text", path, expected));
  }
  return handle;
}

Certificate read_x509(const std::string& path) {
  return read_pem<Certificate>(path, "a certificate", PEM_read_X509);
}

double seconds_of(const ASN1_TIME* time) {
  std::tm fields{};
  must(ASN1_TIME_to_tm(time, &fields), "time");
  return static_cast<double>(timegm(&fields));
}

std::string text_of(const ASN1_STRING* text) {
  return {reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
          static_cast<size_t>(ASN1_STRING_length(text))};
}

std::string address_text(const ASN1_OCTET_STRING* address) {
  char text[INET6_ADDRSTRLEN] = "";
  const int family = ASN1_STRING_length(address) == 4 ? AF_INET : AF_INET6;
  inet_ntop(family, ASN1_STRING_get0_data(address), text, sizeof text);
  return text;
}

/// The trust domain of an authority's ID, "spiffe://SITE"; empty for anything else.
std::string site_of_authority(const std::string& uri) {
  if (!uri.starts_with(kScheme) || uri.find('/', kScheme.size()) != std::string::npos) return "";
  return uri.substr(kScheme.size());
}

void read_names(const Certificate& certificate, CertificateInfo& info) {
  const Names names(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate.get(), NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type == GEN_DNS) info.hosts.push_back(text_of(name->d.dNSName));
    if (name->type == GEN_IPADD) info.hosts.push_back(address_text(name->d.iPAddress));
    if (name->type != GEN_URI) continue;
    const std::string uri = text_of(name->d.uniformResourceIdentifier);
    if (info.is_authority) {
      info.site = site_of_authority(uri);
      continue;
    }
    try {
      info.identity = scheduler::parse_spiffe_id(uri);
      info.site = info.identity->site;
    } catch (const Error&) {
      continue;  // another program's certificate: it has no identity here
    }
  }
}

CertificateInfo info_of(const Certificate& certificate) {
  CertificateInfo info;
  info.is_authority = X509_check_ca(certificate.get()) == 1;
  char subject[256] = "";
  X509_NAME_oneline(X509_get_subject_name(certificate.get()), subject, sizeof subject);
  info.subject = subject;
  info.not_before_seconds = seconds_of(X509_get0_notBefore(certificate.get()));
  info.not_after_seconds = seconds_of(X509_get0_notAfter(certificate.get()));
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  must(X509_digest(certificate.get(), EVP_sha256(), digest, &size), "digest");
  for (unsigned int i = 0; i < size; ++i) info.sha256 += fmt::format("{:02x}", digest[i]);
  read_names(certificate, info);
  return info;
}

void add_name(const Names& names, int type, ASN1_STRING* value) {
  GENERAL_NAME* name = must(GENERAL_NAME_new(), "name");
  GENERAL_NAME_set0_value(name, type, value);
  must(sk_GENERAL_NAME_push(names.get(), name), "name");
}

void add_text_name(const Names& names, int type, const std::string& text) {
  ASN1_IA5STRING* value = must(ASN1_IA5STRING_new(), "name");
  must(ASN1_STRING_set(value, text.data(), static_cast<int>(text.size())), "name");
  add_name(names, type, value);
}

bool is_host_name(const std::string& host) {
  constexpr std::string_view kAllowed =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.";
  return !host.empty() && host.size() <= 253 && host[0] != '.' && host[0] != '-' &&
         host.find_first_not_of(kAllowed) == std::string::npos;
}

void add_host(const Names& names, const std::string& host) {
  if (ASN1_OCTET_STRING* address = a2i_IPADDRESS(host.c_str())) {
    add_name(names, GEN_IPADD, address);
  } else if (is_host_name(host)) {
    add_text_name(names, GEN_DNS, host);
  } else {
    throw Error(ErrorCode::kConfig,
                fmt::format("--host: expected a DNS name or an IP address, got \"{}\"", host));
  }
}

void add_extension(X509* certificate, X509* issuer, int nid, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = must(X509V3_EXT_conf_nid(nullptr, &context, nid, value), "extension");
  const int code = X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
  must(code, "extension");
}

void add_subject(X509* certificate, const std::string& common_name,
                 const std::string& organization) {
  const auto add = [&](const char* field, const std::string& text) {
    must(X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), field, MBSTRING_UTF8,
                                    reinterpret_cast<const unsigned char*>(text.data()),
                                    static_cast<int>(text.size()), -1, 0),
         "subject");
  };
  if (!organization.empty()) add("O", organization);
  add("CN", common_name);
}

/// A certificate with key, serial number and times; names, uses and the signature are to come.
Certificate blank_certificate(const Key& key, double valid_seconds) {
  Certificate certificate(must(X509_new(), "certificate"));
  X509* x = certificate.get();
  must(X509_set_version(x, X509_VERSION_3), "version");
  const std::unique_ptr<BIGNUM, Freed<BN_free>> serial(must(BN_new(), "serial number"));
  must(BN_rand(serial.get(), kSerialBits, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY), "serial number");
  must(BN_to_ASN1_INTEGER(serial.get(), X509_get_serialNumber(x)), "serial number");
  const auto at = [](double seconds, ASN1_TIME* time) {
    const int days = static_cast<int>(std::floor(seconds / 86400));
    must(X509_time_adj_ex(time, days, std::lround(seconds - days * 86400.0), nullptr), "time");
  };
  at(-kBackdatedSeconds, X509_getm_notBefore(x));
  at(valid_seconds, X509_getm_notAfter(x));
  must(X509_set_pubkey(x, key.get()), "key");
  return certificate;
}

void sign(const Certificate& certificate, const Certificate& issuer, const Key& key) {
  add_extension(certificate.get(), issuer.get(), NID_subject_key_identifier, "hash");
  add_extension(certificate.get(), issuer.get(), NID_authority_key_identifier, "keyid:always");
  must(X509_set_issuer_name(certificate.get(), X509_get_subject_name(issuer.get())), "issuer");
  must(X509_sign(certificate.get(), key.get(), EVP_sha256()), "signature");
}

void require_validity(double seconds) {
  constexpr double kLongest = 100 * 365.25 * 86400;
  if (seconds < 1 || seconds > kLongest) {
    throw Error(ErrorCode::kConfig, "--valid: expected between 1 s and 100 years");
  }
}

std::string stem_of(const Identity& identity) {
  switch (identity.kind) {
    case Identity::Kind::kDaemon:
      return "daemon";
    case Identity::Kind::kNode:
      return "node-" + identity.name;
    case Identity::Kind::kUser:
      return "user-" + identity.name;
  }
  return "";
}

/// The authority's certificate; checks that it can issue one that is valid so long.
Certificate require_authority(const std::string& folder, double valid_seconds) {
  const std::string path = join(folder, "ca.crt");
  if (!std::filesystem::exists(path)) {
    throw Error(ErrorCode::kConfig,
                fmt::format("{} is not there: make the site's authority first, with "
                            "wattle certs init --dir {}",
                            path, folder));
  }
  Certificate authority = read_x509(path);
  const CertificateInfo info = info_of(authority);
  if (info.site.empty()) {
    throw Error(ErrorCode::kFormat, path + " was not made by wattle certs init");
  }
  const double left = info.not_after_seconds - static_cast<double>(std::time(nullptr));
  if (valid_seconds > left) {
    throw Error(ErrorCode::kConfig,
                fmt::format("--valid: the authority itself ends in {:.0f} days; give less, or make "
                            "a new authority in another --dir",
                            std::max(0.0, std::floor(left / 86400))));
  }
  return authority;
}

}  // namespace

CertificateFiles make_authority(const std::string& folder, const std::string& site,
                                double valid_seconds) {
  require_validity(valid_seconds);
  scheduler::to_spiffe_id({Identity::Kind::kDaemon, site, "", "", scheduler::Role::kUser});
  std::error_code failed;
  std::filesystem::create_directories(folder, failed);
  if (failed) throw Error(ErrorCode::kIo, fmt::format("{}: {}", folder, failed.message()));
  const Key key(must(EVP_EC_gen("P-256"), "key"));
  const Certificate certificate = blank_certificate(key, valid_seconds);
  X509* x = certificate.get();
  add_subject(x, "Wattle authority", site);
  add_extension(x, x, NID_basic_constraints, "critical,CA:TRUE,pathlen:0");
  add_extension(x, x, NID_key_usage, "critical,keyCertSign,cRLSign");
  const Names names(must(GENERAL_NAMES_new(), "names"));
  add_text_name(names, GEN_URI, std::string(kScheme) + site);
  must(X509_add1_ext_i2d(x, NID_subject_alt_name, names.get(), 0, X509V3_ADD_DEFAULT), "names");
  sign(certificate, certificate, key);
  return write_files(folder, "ca", certificate, key);
}

CertificateFiles issue_certificate(const std::string& folder, const IssueRequest& request) {
  require_validity(request.valid_seconds);
  const Certificate authority = require_authority(folder, request.valid_seconds);
  const Key authority_key =
      read_pem<Key>(join(folder, "ca.key"), "a private key", PEM_read_PrivateKey);
  if (X509_check_private_key(authority.get(), authority_key.get()) != 1) {
    throw Error(ErrorCode::kFormat, folder + ": ca.key is not the key of ca.crt");
  }
  Identity identity = request.identity;
  identity.site = info_of(authority).site;
  const bool is_daemon = identity.kind == Identity::Kind::kDaemon;

  const Key key(must(EVP_EC_gen("P-256"), "key"));
  const Certificate certificate = blank_certificate(key, request.valid_seconds);
  X509* x = certificate.get();
  const Names names(must(GENERAL_NAMES_new(), "names"));
  add_text_name(names, GEN_URI, to_spiffe_id(identity));
  for (const std::string& host : request.hosts) add_host(names, host);
  must(X509_add1_ext_i2d(x, NID_subject_alt_name, names.get(), 0, X509V3_ADD_DEFAULT), "names");
  add_subject(x, is_daemon ? "wattled" : identity.name, identity.tenant);
  add_extension(x, authority.get(), NID_basic_constraints, "critical,CA:FALSE");
  add_extension(x, authority.get(), NID_key_usage, "critical,digitalSignature");
  add_extension(x, authority.get(), NID_ext_key_usage, is_daemon ? "serverAuth" : "clientAuth");
  sign(certificate, authority, authority_key);
  return write_files(folder, stem_of(identity), certificate, key);
}

CertificateInfo read_certificate(const std::string& path) { return info_of(read_x509(path)); }

}  // namespace wattle
