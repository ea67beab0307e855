#include "scheduler/agent/processes/as_user.h"

#include <fmt/format.h>
#include <pwd.h>
#include <sys/fsuid.h>
#include <unistd.h>

#include <array>

#include "common/error.h"

namespace wattle::agent {

Account find_account(const std::string& name) {
  passwd entry{};
  passwd* found = nullptr;
  std::array<char, 16384> text;
  ::getpwnam_r(name.c_str(), &entry, text.data(), text.size(), &found);
  if (!found) {
    throw Error(ErrorCode::kConfig, fmt::format("this machine has no account \"{}\"", name));
  }
  return {name, entry.pw_uid, entry.pw_gid, entry.pw_dir};
}

AsUser::AsUser(const std::optional<Account>& account) {
  if (!account || account->uid == ::geteuid()) return;
  ::setfsgid(account->gid);
  ::setfsuid(account->uid);
  changed_ = true;
  // They report no failure but by a second call, which returns what is in force.
  if (static_cast<uid_t>(::setfsuid(-1)) != account->uid) {
    restore();
    throw Error(ErrorCode::kIo,
                fmt::format("can't act as {}: only root starts runs as others", account->name));
  }
}

AsUser::~AsUser() {
  if (changed_) restore();
}

void AsUser::restore() {
  ::setfsuid(::geteuid());
  ::setfsgid(::getegid());
}

}  // namespace wattle::agent
