#include "scheduler/agent/settings.h"

#include <fmt/format.h>

#include "common/error.h"

namespace wattle::agent {

std::optional<Account> Settings::account_of(const std::string& tenant) const {
  if (const auto own = accounts.find(tenant); own != accounts.end()) return own->second;
  if (accounts.empty() || account) return account;
  throw Error(ErrorCode::kConfig,
              fmt::format("node {} has no account for the tenant {} (accounts in agent.yaml)", node,
                          tenant));
}

}  // namespace wattle::agent
