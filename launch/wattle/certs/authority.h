#pragma once

#include <optional>
#include <string>
#include <vector>

#include "scheduler/rpc/identity.h"

namespace wattle {

/// A site's own certificate authority: a folder with `ca.crt` and `ca.key`, and beside them what it
/// issued: `daemon.crt`, `node-NAME.crt`, `user-NAME.crt` and their keys. Keys are ECDSA on P-256;
/// every file is readable by its owner alone, none is ever overwritten. A certificate serves one
/// side of a connection: the daemon's is for servers, a node's and a user's for clients.
///
/// Certificates count as valid five minutes before they were made, for clocks that are late.
/// Errors: kConfig if names or times are impossible or a file is there already, kIo if a file can't
/// be read or written, kFormat if it holds something else.

/// The two files of a certificate.
struct CertificateFiles {
  std::string certificate;
  std::string key;
};

struct IssueRequest {
  scheduler::Identity identity;    ///< its site is the authority's, whatever stands here
  std::vector<std::string> hosts;  ///< DNS names and IP addresses of the daemon; none for others
  double valid_seconds = 0;
};

/// What a certificate says.
struct CertificateInfo {
  bool is_authority = false;
  std::string site;                             ///< empty if it is not one of Wattle's
  std::optional<scheduler::Identity> identity;  ///< absent for an authority and for foreign ones
  std::string subject;
  std::vector<std::string> hosts;
  double not_before_seconds = 0;  ///< since 1970, as not_after
  double not_after_seconds = 0;
  std::string sha256;  ///< of the certificate, in lower-case hexadecimal digits
};

/// Makes the folder, if need be, and the authority in it.
CertificateFiles make_authority(const std::string& folder, const std::string& site,
                                double valid_seconds);

/// Issues a certificate that ends before the authority does.
CertificateFiles issue_certificate(const std::string& folder, const IssueRequest& request);

CertificateInfo read_certificate(const std::string& path);

}  // namespace wattle
