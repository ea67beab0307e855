#include "scheduler/rpc/identity.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <vector>

#include "common/error.h"

namespace wattle::scheduler {
namespace {

constexpr std::string_view kScheme = "spiffe://";
constexpr size_t kLongestName = 64;

bool is_allowed(char c, bool upper) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (upper && c >= 'A' && c <= 'Z') ||
         c == '.' || c == '-' || c == '_';
}

/// Empty, or what is wrong with a segment of the ID.
std::string fault_of(std::string_view name, bool upper) {
  if (name.empty()) return "is empty";
  if (name.size() > kLongestName) return fmt::format("has more than {} bytes", kLongestName);
  if (name == "." || name == "..") return "is no name";
  if (!std::all_of(name.begin(), name.end(), [&](char c) { return is_allowed(c, upper); })) {
    return fmt::format("may have only {}, digits, '.', '-' and '_'",
                       upper ? "letters" : "lower-case letters");
  }
  return "";
}

void require_name(const char* what, std::string_view name, bool upper = true) {
  const std::string fault = fault_of(name, upper);
  if (!fault.empty()) {
    throw Error(ErrorCode::kConfig, fmt::format("{} \"{}\" {}", what, name, fault));
  }
}

std::vector<std::string> segments_of(std::string_view path) {
  std::vector<std::string> segments;
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    segments.emplace_back(path.substr(begin, end - begin));
    begin = end + 1;
  }
  return segments;
}

/// The identity that the segments after the scheme spell; names are not checked yet.
bool read_segments(const std::vector<std::string>& s, Identity& identity) {
  identity.site = s[0];
  if (s.size() == 2 && s[1] == "daemon") {
    identity.kind = Identity::Kind::kDaemon;
    return true;
  }
  if (s.size() == 3 && s[1] == "node") {
    identity.kind = Identity::Kind::kNode;
    identity.name = s[2];
    return true;
  }
  if (s.size() != 7 || s[1] != "tenant" || s[3] != "user" || s[5] != "role") return false;
  identity.kind = Identity::Kind::kUser;
  identity.tenant = s[2];
  identity.name = s[4];
  identity.role = parse_role(s[6]);
  return true;
}

}  // namespace

const char* to_string(Role role) {
  switch (role) {
    case Role::kUser:
      return "user";
    case Role::kTenantAdmin:
      return "tenant-admin";
    case Role::kOperator:
      return "operator";
  }
  return "?";
}

Role parse_role(const std::string& word) {
  for (const Role role : {Role::kUser, Role::kTenantAdmin, Role::kOperator}) {
    if (word == to_string(role)) return role;
  }
  throw Error(ErrorCode::kConfig,
              fmt::format("role: expected user, tenant-admin or operator, got \"{}\"", word));
}

std::string to_spiffe_id(const Identity& identity) {
  require_name("site", identity.site, /*upper=*/false);
  if (identity.kind == Identity::Kind::kDaemon) {
    return fmt::format("{}{}/daemon", kScheme, identity.site);
  }
  if (identity.kind == Identity::Kind::kNode) {
    require_name("node", identity.name);
    return fmt::format("{}{}/node/{}", kScheme, identity.site, identity.name);
  }
  require_name("tenant", identity.tenant);
  require_name("user", identity.name);
  return fmt::format("{}{}/tenant/{}/user/{}/role/{}", kScheme, identity.site, identity.tenant,
                     identity.name, to_string(identity.role));
}

Identity parse_spiffe_id(const std::string& id) {
  Identity identity;
  try {
    if (id.starts_with(kScheme) &&
        read_segments(segments_of(std::string_view(id).substr(kScheme.size())), identity) &&
        to_spiffe_id(identity) == id) {
      return identity;
    }
  } catch (const Error& e) {
    throw Error(ErrorCode::kFormat, fmt::format("\"{}\" is no identity: {}", id, e.what()));
  }
  throw Error(ErrorCode::kFormat,
              fmt::format("\"{}\" is no identity: expected spiffe://SITE/daemon, "
                          "spiffe://SITE/node/NAME or spiffe://SITE/tenant/TENANT/user/NAME/role/"
                          "ROLE",
                          id));
}

}  // namespace wattle::scheduler
