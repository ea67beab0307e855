#pragma once

#include <string>

namespace wattle::scheduler {

/// What a user may do; each role may do what the ones before it may.
enum class Role {
  kUser,         ///< submit, and see and cancel one's own jobs
  kTenantAdmin,  ///< see and cancel every job of the tenant
  kOperator,     ///< everything: all tenants, nodes, caps, budgets
};

/// Who holds a certificate. It stands in the certificate's only URI name as a SPIFFE ID
/// (github.com/spiffe/spiffe, standards/SPIFFE-ID.md), one of
///
///   spiffe://SITE/daemon
///   spiffe://SITE/node/NAME
///   spiffe://SITE/tenant/TENANT/user/NAME/role/user|tenant-admin|operator
///
/// SITE has lower-case letters, digits, '.', '-' and '_', the names also upper-case letters; each
/// at most 64 bytes, none of them "." or "..".
struct Identity {
  enum class Kind { kDaemon, kNode, kUser };
  Kind kind = Kind::kUser;
  std::string site;
  std::string name;    ///< of the node or user; empty for the daemon
  std::string tenant;  ///< of a user; empty otherwise
  Role role = Role::kUser;

  bool operator==(const Identity&) const = default;
};

const char* to_string(Role role);

/// Throws Error(kConfig) for another word than user, tenant-admin and operator.
Role parse_role(const std::string& word);

/// Throws Error(kConfig) if a name is empty, too long or has other characters; names the place.
std::string to_spiffe_id(const Identity& identity);

/// Throws Error(kFormat) if the text is no such ID.
Identity parse_spiffe_id(const std::string& id);

}  // namespace wattle::scheduler
