#include "scheduler/config/tls_files.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>

namespace wattle::scheduler {
namespace {

constexpr int kHighestPort = 65535;

std::string host_of(const std::string& address) {
  const std::string host = address.substr(0, address.rfind(':'));
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  return bracketed ? host.substr(1, host.size() - 2) : host;
}

}  // namespace

void TlsFiles::describe(Fields& f) {
  f("ca", ca, "certificate of the site's authority (PEM)");
  f("cert", cert, "this program's certificate (PEM)");
  f("key", key, "its private key (PEM)");
}

bool is_loopback(const std::string& address) {
  const std::string host = host_of(address);
  in_addr v4{};
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return ntohl(v4.s_addr) >> 24 == 127;
  return host == "localhost" || host == "::1";
}

std::string fault_of_address(const std::string& address) {
  const size_t colon = address.rfind(':');
  const std::string port = colon == std::string::npos ? "" : address.substr(colon + 1);
  const bool is_number =
      !port.empty() && port.size() <= 5 &&
      std::all_of(port.begin(), port.end(), [](unsigned char c) { return c >= '0' && c <= '9'; });
  if (is_number && colon > 0 && std::stoi(port) <= kHighestPort) return "";
  return fmt::format("expected HOST:PORT, got \"{}\"", address);
}

void describe_security(Fields& f, LinkSecurity& security, const std::string& address_key,
                       const std::string& address) {
  f("tls", security.tls, "mutual TLS, always, but for insecure_loopback");
  f("insecure_loopback", security.insecure_loopback,
    "no TLS: everyone on this machine is operator; only on a loopback address");
  f.check([&security, &address, address_key](Checker& c) {
    const std::string fault = fault_of_address(address);
    c.require(fault.empty(), address_key, fault);
    if (security.insecure_loopback) {
      c.require(is_loopback(address), "insecure_loopback",
                fmt::format("works on a loopback address alone, not on {}", address));
      return;
    }
    const TlsFiles& tls = security.tls;
    for (const auto& [key, path] :
         {std::pair("ca", &tls.ca), {"cert", &tls.cert}, {"key", &tls.key}}) {
      c.require(!path->empty(), std::string("tls.") + key,
                "is required: `wattle certs` makes it; insecure_loopback: true goes without");
    }
  });
}

}  // namespace wattle::scheduler
