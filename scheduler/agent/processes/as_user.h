#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

namespace wattle::agent {

/// An account of this machine.
struct Account {
  std::string name;
  uid_t uid = 0;
  gid_t gid = 0;
  std::string home;
};

/// Throws Error(kConfig) if the machine has no such account.
Account find_account(const std::string& name);

/// While it lives, this thread touches files as that account does: a link that a job's user has
/// laid in its folder leads no further than the user gets. Without an account it changes nothing.
/// Throws Error(kIo) if the system refuses.
class [[nodiscard]] AsUser {
 public:
  explicit AsUser(const std::optional<Account>& account);
  ~AsUser();
  AsUser(const AsUser&) = delete;
  AsUser& operator=(const AsUser&) = delete;

 private:
  void restore();

  bool changed_ = false;
};

}  // namespace wattle::agent
