#include "launch/wattle/certs/certs_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <ctime>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "common/error.h"
#include "common/host_name.h"
#include "common/text.h"
#include "launch/wattle/certs/authority.h"
#include "launch/wattle/text/quantities.h"
#include "launch/wattle/text/table.h"

namespace wattle {
namespace {

using scheduler::Identity;

struct CertsArguments {
  std::string folder = "certs";
  std::string site = "wattle";
  std::string authority_valid = "3650d";
  std::string valid = "365d";
  std::string name, tenant = "default", role = "user";
  std::vector<std::string> hosts;
  std::vector<std::string> shown;
  bool json = false;
};

void init(const CertsArguments& arguments) {
  const CertificateFiles files =
      make_authority(arguments.folder, arguments.site, parse_duration(arguments.authority_valid));
  fmt::print(
      "{}: the authority of \"{}\"; every node and user needs a copy\n"
      "{}: its key; whoever has it can be anyone: keep it offline\n",
      files.certificate, arguments.site, files.key);
}

std::vector<std::string> this_machine() {
  const std::string name = host_name();
  std::vector<std::string> hosts = {"localhost", "127.0.0.1", "::1"};
  if (!name.empty() && name != "localhost") hosts.insert(hosts.begin(), name);
  return hosts;
}

void issue(const CertsArguments& arguments, Identity::Kind kind) {
  IssueRequest request;
  request.identity.kind = kind;
  request.valid_seconds = parse_duration(arguments.valid);
  if (kind == Identity::Kind::kDaemon) {
    request.hosts = arguments.hosts.empty() ? this_machine() : arguments.hosts;
  } else {
    request.identity.name = arguments.name;
  }
  if (kind == Identity::Kind::kUser) {
    request.identity.tenant = arguments.tenant;
    request.identity.role = scheduler::parse_role(arguments.role);
  }
  const CertificateFiles files = issue_certificate(arguments.folder, request);
  const CertificateInfo info = read_certificate(files.certificate);
  fmt::print("{}: {}, until {}\n", files.certificate, to_spiffe_id(*info.identity),
             time_text(info.not_after_seconds));
  if (!info.hosts.empty()) fmt::print("  answers as {}\n", fmt::join(info.hosts, ", "));
  fmt::print("{}: its key; hand both over with ca.crt on a way that nobody else can read\n",
             files.key);
}

std::string holder_of(const CertificateInfo& info) {
  if (info.is_authority && !info.site.empty()) return "authority of " + info.site;
  return info.identity ? to_spiffe_id(*info.identity) : info.subject;
}

std::string validity_of(const CertificateInfo& info) {
  const double now = static_cast<double>(std::time(nullptr));
  if (now > info.not_after_seconds) return "expired";
  if (now < info.not_before_seconds) return "not yet valid";
  return fmt::format("{:.0f} days left", std::floor((info.not_after_seconds - now) / 86400));
}

nlohmann::ordered_json json_of(const std::string& path, const CertificateInfo& info) {
  return {{"file", path},
          {"holder", holder_of(info)},
          {"is_authority", info.is_authority},
          {"hosts", info.hosts},
          {"not_before_time", info.not_before_seconds},
          {"not_after_time", info.not_after_seconds},
          {"validity", validity_of(info)},
          {"sha256", info.sha256}};
}

std::vector<std::string> certificates_in(const std::string& folder) {
  std::vector<std::string> paths;
  std::error_code failed;
  for (const auto& entry : std::filesystem::directory_iterator(folder, failed)) {
    if (entry.path().extension() == ".crt") paths.push_back(entry.path().string());
  }
  if (failed) throw Error(ErrorCode::kIo, fmt::format("{}: {}", folder, failed.message()));
  std::sort(paths.begin(), paths.end());
  return paths;
}

void show(const CertsArguments& arguments) {
  const auto paths = arguments.shown.empty() ? certificates_in(arguments.folder) : arguments.shown;
  Table table({{"FILE"}, {"HOLDER"}, {"UNTIL"}, {"VALIDITY"}, {"HOSTS"}});
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const std::string& path : paths) {
    const CertificateInfo info = read_certificate(path);
    list.push_back(json_of(path, info));
    table.add({path, holder_of(info), time_text(info.not_after_seconds), validity_of(info),
               fmt::format("{}", fmt::join(info.hosts, ","))});
  }
  fmt::print("{}", arguments.json ? list.dump() + "\n" : table.text());
}

void add_issue(CLI::App& certs, const std::shared_ptr<CertsArguments>& arguments) {
  CLI::App* issue_app = certs.add_subcommand("issue", "issue a certificate");
  issue_app->require_subcommand(1)->fallthrough();
  issue_app->add_option("--valid", arguments->valid, "how long it is valid")->capture_default_str();
  const auto add = [&](const char* name, const char* what, Identity::Kind kind) {
    CLI::App* app = issue_app->add_subcommand(name, what);
    app->fallthrough();
    app->callback([arguments, kind] { issue(*arguments, kind); });
    return app;
  };
  add("daemon", "for wattled", Identity::Kind::kDaemon)
      ->add_option("--host", arguments->hosts,
                   "DNS name or address under which it is reached (default: this machine's)");
  add("node", "for one node's wattle-agent", Identity::Kind::kNode)
      ->add_option("name", arguments->name, "name of the node")
      ->required();
  CLI::App* user = add("user", "for a person or program", Identity::Kind::kUser);
  user->add_option("name", arguments->name, "name of the user")->required();
  user->add_option("--tenant", arguments->tenant, "whose joules the user spends")
      ->capture_default_str();
  user->add_option("--role", arguments->role, "what the user may do")
      ->check(CLI::IsMember({"user", "tenant-admin", "operator"}))
      ->capture_default_str();
}

}  // namespace

void add_certs_command(CLI::App& wattle) {
  const auto arguments = std::make_shared<CertsArguments>();
  CLI::App* certs = wattle.add_subcommand("certs", "a site's own certificate authority");
  certs->require_subcommand(1);
  certs->add_option("--dir", arguments->folder, "folder of the authority and what it issues")
      ->capture_default_str();
  CLI::App* init_app = certs->add_subcommand("init", "make the authority, once a site");
  init_app->fallthrough();
  init_app->add_option("--site", arguments->site, "name of the site")->capture_default_str();
  init_app->add_option("--valid", arguments->authority_valid, "how long it is valid")
      ->capture_default_str();
  init_app->callback([arguments] { init(*arguments); });
  add_issue(*certs, arguments);
  CLI::App* show_app = certs->add_subcommand("show", "whose certificates these are, and how long");
  show_app->fallthrough();
  show_app->add_option("file", arguments->shown, "certificates (default: all in --dir)");
  show_app->add_flag("--json", arguments->json, "a list of objects instead of a table");
  show_app->callback([arguments] { show(*arguments); });
}

}  // namespace wattle
