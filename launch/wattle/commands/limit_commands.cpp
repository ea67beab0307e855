#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <limits>
#include <memory>

#include "common/error.h"
#include "common/text.h"
#include "launch/wattle/commands/client_command.h"
#include "launch/wattle/commands/commands.h"
#include "launch/wattle/text/quantities.h"
#include "launch/wattle/text/table.h"

namespace wattle {
namespace {

struct CapArguments {
  ClientArguments client;
  std::string watts, from, until;
  bool soft = false;
};

struct BudgetArguments {
  ClientArguments client;
  std::string tenant, amount;
  double weight = 0;
  bool create = false;
};

/// A line for each change that is to come, the earliest first.
void print_changes(const v1::GetCapResponse& cap) {
  const auto print = [](const char* name, const auto& changes) {
    for (const auto& change : changes) {
      fmt::print("From {} the {} cap is {}\n", time_text(change.time()), name,
                 change.has_watts() ? watts_text(change.watts()) : "none");
    }
  };
  print("hard", cap.hard_changes());
  print("soft", cap.soft_changes());
}

void print_cap(const v1::GetCapResponse& cap) {
  const auto line = [](const char* name, const std::string& value) {
    fmt::print("{:<14}{:>9}\n", name, value);
  };
  line("Hard cap", watts_text(cap.hard_watts()));
  if (cap.has_soft_watts()) line("Soft cap", watts_text(cap.soft_watts()));
  line("Limits", watts_text(cap.limit_watts()));
  line("Drawn", watts_text(cap.watts()));
  line("Lowest cap", watts_text(std::ceil(cap.least_watts())));
  print_changes(cap);
}

void show_cap(const CapArguments& arguments) {
  const auto cap = ClusterClient(arguments.client.connect()).cap();
  if (arguments.client.json) {
    print_json(json_of(cap));
  } else {
    print_cap(cap);
  }
}

void set_cap(const CapArguments& arguments) {
  v1::SetCapRequest request;
  request.set_request_id(new_request_id());
  const bool is_none = arguments.soft && arguments.watts == "none";
  request.set_watts(is_none ? std::numeric_limits<double>::infinity()
                            : parse_watts(arguments.watts));
  request.set_soft(arguments.soft);
  const double now = now_seconds();
  if (!arguments.from.empty()) request.set_from_time(parse_time(arguments.from, now));
  if (!arguments.until.empty()) request.set_until_time(parse_time(arguments.until, now));
  if (request.has_until_time() && request.until_time() <= std::max(now, request.from_time())) {
    throw Error(ErrorCode::kConfig, "--until: is over before it begins");
  }
  ClusterClient cluster(arguments.client.connect());
  cluster.set_cap(request);
  const auto cap = cluster.cap();
  if (arguments.client.json) return print_json(json_of(cap));
  const bool holds = !arguments.soft || cap.has_soft_watts();
  fmt::print("The {} cap is {} now\n", arguments.soft ? "soft" : "hard",
             holds ? watts_text(arguments.soft ? cap.soft_watts() : cap.hard_watts()) : "none");
  print_changes(cap);
}

void show_budgets(const BudgetArguments& arguments) {
  const auto response = ClusterClient(arguments.client.connect()).budgets();
  if (arguments.client.json) return print_json(json_list(response.tenants()));
  using enum Table::Align;
  Table table({{"TENANT"},
               {"BUDGET", kRight},
               {"SPENT", kRight},
               {"LEASED", kRight},
               {"LEFT", kRight},
               {"PERIOD ENDS"},
               {"WEIGHT", kRight}});
  for (const auto& tenant : response.tenants()) {
    const double left = tenant.joules() - tenant.spent_joules() - tenant.leased_joules();
    table.add({tenant.tenant(), tenant.has_joules() ? joules_text(tenant.joules()) : "unlimited",
               joules_text(tenant.spent_joules()), joules_text(tenant.leased_joules()),
               tenant.has_joules() ? joules_text(std::max(0.0, left)) : "",
               tenant.period_end_time() > 0 ? time_text(tenant.period_end_time()) : "",
               fmt::format("{:g}", tenant.weight())});
  }
  fmt::print("{}", table.text());
}

/// What holds now.
void print_budget(const v1::TenantBudget& tenant) {
  if (!tenant.has_joules()) {
    fmt::print("The budget of {} is unlimited\n", tenant.tenant());
    return;
  }
  fmt::print("The budget of {} is {} every {}; {} of it are spent, the period ends {}\n",
             tenant.tenant(), joules_text(tenant.joules()), duration_text(tenant.period_seconds()),
             joules_text(tenant.spent_joules()), time_text(tenant.period_end_time()));
}

void set_budget(const BudgetArguments& arguments) {
  v1::SetBudgetRequest request;
  request.set_tenant(arguments.tenant);
  request.set_weight(arguments.weight);
  request.set_create(arguments.create);
  if (arguments.amount != "unlimited") {
    const BudgetRate rate = parse_budget(arguments.amount);
    request.set_joules(rate.joules);
    request.set_period_seconds(rate.period_seconds.value_or(0));
  }
  ClusterClient cluster(arguments.client.connect());
  cluster.set_budget(request);
  const auto response = cluster.budgets();
  if (arguments.client.json) return print_json(json_list(response.tenants()));
  for (const auto& tenant : response.tenants()) {
    if (tenant.tenant() == arguments.tenant) print_budget(tenant);
  }
}

void add_cap(CLI::App& wattle) {
  const auto arguments = std::make_shared<CapArguments>();
  CLI::App* cap = wattle.add_subcommand("cap", "the cluster's cap in watts");
  cap->require_subcommand(1);
  CLI::App* show = cap->add_subcommand("show", "the cap, and what is under it");
  arguments->client.add_to(*show);
  show->callback([arguments] { show_cap(*arguments); });
  CLI::App* set = cap->add_subcommand(
      "set", "set the cap; it goes over what was set before, and is met within 10 s");
  arguments->client.add_to(*set);
  set->add_option("watts", arguments->watts, "as 2000W or 1.5kW; with --soft also none")
      ->required();
  set->add_flag("--soft", arguments->soft, "limits what is drawn instead of the limits' sum");
  set->add_option("--from", arguments->from, "in UTC, 2026-11-24T08:00:00Z, or +2h (default: now)");
  set->add_option("--until", arguments->until,
                  "likewise; then what was set before holds again (default: without end)");
  set->callback([arguments] { set_cap(*arguments); });
}

void add_budget(CLI::App& wattle) {
  const auto arguments = std::make_shared<BudgetArguments>();
  CLI::App* budget = wattle.add_subcommand("budget", "the tenants' joules");
  budget->require_subcommand(1);
  CLI::App* show = budget->add_subcommand("show", "budgets, and what is left of them");
  arguments->client.add_to(*show);
  show->callback([arguments] { show_budgets(*arguments); });
  CLI::App* set = budget->add_subcommand("set", "set a tenant's budget");
  arguments->client.add_to(*set);
  set->add_option("tenant", arguments->tenant, "whose")->required();
  set->add_option("amount", arguments->amount,
                  "as 5kWh/day, 20MJ/week, 2MJ (the period stays), or unlimited")
      ->required();
  set->add_option("--weight", arguments->weight, "what the tenant's progress is worth")
      ->check(CLI::PositiveNumber);
  set->add_flag("--create", arguments->create, "of a tenant that has no jobs and no budget yet");
  set->callback([arguments] { set_budget(*arguments); });
}

}  // namespace

void add_limit_commands(CLI::App& wattle) {
  add_cap(wattle);
  add_budget(wattle);
}

}  // namespace wattle
