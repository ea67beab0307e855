#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <map>
#include <memory>

#include "launch/wattle/commands/client_command.h"
#include "launch/wattle/commands/commands.h"
#include "launch/wattle/text/quantities.h"
#include "launch/wattle/text/table.h"

namespace wattle {
namespace {

constexpr double kJoulesPerKwh = 3.6e6;

struct ReportArguments {
  ClientArguments client;
  std::string by = "tenant", from, until;
};

/// "2026-11-24" is its first moment; "-7d" is so long ago.
double parse_day(const std::string& text) {
  const double now = now_seconds();
  if (text.starts_with('-')) return now - parse_duration(text.substr(1));
  return parse_time(text.size() == 10 ? text + "T00:00:00Z" : text, now);
}

std::vector<std::string> cells_of(const v1::ReportRow& row, bool named) {
  const double joules = row.measured_joules() + row.estimated_joules();
  std::vector<std::string> cells = {row.key()};
  if (named) cells.push_back(row.name());
  const auto known = [](double value) { return value > 0 ? joules_text(value) : ""; };
  for (std::string cell :
       {std::to_string(row.jobs()), known(row.measured_joules()), known(row.estimated_joules()),
        fmt::format("{:.6f}", joules / kJoulesPerKwh), fmt::format("{:.0f}", row.tokens()),
        joules > 0 ? fmt::format("{:.2f}", row.tokens() / joules) : ""}) {
    cells.push_back(std::move(cell));
  }
  return cells;
}

void print_report(const v1::ReportResponse& response, const std::string& by) {
  using enum Table::Align;
  const bool named = by == "job";
  std::vector<Table::Column> columns = {{by == "tenant" ? "TENANT" : named ? "JOB" : "DAY"}};
  if (named) columns.push_back({"NAME"});
  for (const char* heading : {"JOBS", "MEASURED", "ESTIMATED", "KWH", "TOKENS", "TOKENS/J"}) {
    columns.push_back({heading, kRight});
  }
  Table table(columns);
  v1::ReportRow total;
  total.set_key("total");
  for (const auto& row : response.rows()) {
    table.add(cells_of(row, named));
    total.set_jobs(total.jobs() + row.jobs());
    total.set_tokens(total.tokens() + row.tokens());
    total.set_measured_joules(total.measured_joules() + row.measured_joules());
    total.set_estimated_joules(total.estimated_joules() + row.estimated_joules());
  }
  // A job that runs over midnight stands in both days.
  if (response.rows_size() > 1 && by != "day") table.add(cells_of(total, named));
  fmt::print("{}", table.text());
}

void report(const ReportArguments& arguments) {
  const std::map<std::string, v1::ReportRequest::By> kinds = {{"tenant", v1::ReportRequest::TENANT},
                                                              {"job", v1::ReportRequest::JOB},
                                                              {"day", v1::ReportRequest::DAY}};
  v1::ReportRequest request;
  request.set_by(kinds.at(arguments.by));
  if (!arguments.from.empty()) request.set_from_time(parse_day(arguments.from));
  if (!arguments.until.empty()) request.set_until_time(parse_day(arguments.until));
  const auto response = ClusterClient(arguments.client.connect()).report(request);
  if (arguments.client.json) {
    print_json(json_list(response.rows()));
  } else {
    print_report(response, arguments.by);
  }
}

}  // namespace

void add_report_command(CLI::App& wattle) {
  const auto arguments = std::make_shared<ReportArguments>();
  CLI::App* command = wattle.add_subcommand("report", "where the joules went, as sreport");
  arguments->client.add_to(*command);
  command->add_option("--by", arguments->by, "a row for each")
      ->check(CLI::IsMember({"tenant", "job", "day"}))
      ->capture_default_str();
  command->add_option("--from", arguments->from,
                      "first day in UTC, as 2026-11-24, or -7d: that of so long ago");
  command->add_option("--until", arguments->until, "first day that does not count, likewise");
  command->callback([arguments] { report(*arguments); });
}

}  // namespace wattle
