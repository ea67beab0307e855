#include "common/report/report.h"

#include <fmt/format.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <regex>

#include "common/atomic_file.h"
#include "common/report/chart.h"

namespace wattle {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kStyle = R"(
:root { color-scheme: light dark; --ink: #1d2a24; --soft: #66736c; --line: #d9e0dc; --paper: #fbfcfa;
  --bar: #9cc5ae; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6ece8; --soft: #9aa8a0; --line: #36423c;
  --paper: #141a17; --bar: #2f6f4f; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 780px; margin: 2.5rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.6rem; margin: 0 0 1.2rem; } h2 { font-size: 1.05rem; margin: 2.2rem 0 .4rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(160px, 1fr)); gap: .8rem; }
.card { border: 1px solid var(--line); border-radius: 8px; padding: .6rem .8rem;
  overflow-wrap: anywhere; }
.card b { display: block; font-size: 1.25rem; font-variant-numeric: tabular-nums; }
.card span, .note { color: var(--soft); font-size: .82rem; }
svg { width: 100%; height: auto; } svg text { font-size: 11px; fill: var(--soft); }
svg .legend { font-size: 12px; paint-order: stroke; stroke: var(--paper); stroke-width: 5px; } svg .grid { stroke: var(--line); }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: left; color: var(--soft); font-weight: 500; font-size: .82rem; }
.table { overflow-x: auto; }
th, td { padding: .25rem .6rem .25rem 0; border-bottom: 1px solid var(--line); }
td.number, th.number { text-align: right; }
th.share { width: 30%; }
.bar { background: var(--bar); height: .8rem; border-radius: 2px; min-width: 1px; }
pre { white-space: pre-wrap; border-left: 3px solid var(--line); padding-left: .9rem; overflow-x: auto; }
)";

std::string text_of(const Json& value) {
  if (value.is_string()) return escape_html(value.get<std::string>());
  if (value.is_number_integer()) return fmt::format("{}", value.get<int64_t>());
  if (value.is_number()) return fmt::format("{:.4g}", value.get<double>());
  if (value.is_null()) return "–";
  return escape_html(value.dump());
}

std::string note_of(const Json& part) {
  if (!part.contains("note")) return "";
  return "<p class='note'>" + text_of(part.at("note")) + "</p>";
}

std::string cards(const Json& summary) {
  std::string html = "<div class='cards'>";
  for (const Json& figure : summary) {
    html += fmt::format("<div class='card'><span>{}</span><b>{}</b><span>{}</span></div>",
                        text_of(figure.at("label")), text_of(figure.at("value")),
                        figure.contains("note") ? text_of(figure.at("note")) : "");
  }
  return html + "</div>";
}

std::string chart(const Json& part) {
  std::vector<Series> series;
  for (const Json& line : part.at("series")) {
    Series s{line.at("label"), {}, line.value("dots", false)};
    for (const Json& point : line.at("points")) {
      const double y = point.at(1).is_number() ? point.at(1).get<double>()
                                               : std::numeric_limits<double>::quiet_NaN();
      s.points.emplace_back(point.at(0).get<double>(), y);
    }
    series.push_back(std::move(s));
  }
  return fmt::format("<h2>{}</h2>{}{}", text_of(part.at("title")),
                     line_chart(series, part.at("x_label"), part.at("y_label")), note_of(part));
}

/// A number, or text that is one, with or without a unit after a no-break space.
bool is_figure(const Json& cell) {
  if (!cell.is_string()) return cell.is_number();
  static const std::regex figure("~?[+-]?[0-9.]+(e[+-]?[0-9]+)?(\u00a0.*)?");
  return std::regex_match(cell.get<std::string>(), figure);
}

/// How a column stands: figures to the right, shares as bars, all else to the left.
std::vector<std::string> column_classes(const Json& part) {
  std::vector<std::string> classes;
  const Json& columns = part.at("columns");
  for (size_t i = 0; i < columns.size(); ++i) {
    bool has_figure = false, has_text = false;
    for (const Json& row : part.at("rows")) {
      if (i >= row.size() || row[i].is_null()) continue;
      (is_figure(row[i]) ? has_figure : has_text) = true;
    }
    const bool is_number = has_figure && !has_text;
    classes.emplace_back(columns[i] == "share" ? "share" : is_number ? "number" : "");
  }
  return classes;
}

std::string cell_html(const Json& cell, const std::string& column_class) {
  if (column_class == "share" && cell.is_number()) {
    return fmt::format("<td title='{0:.1f} %'><div class='bar' style='width:{0:.1f}%'></div></td>",
                       100 * cell.get<double>());
  }
  return fmt::format("<td class='{}'>{}</td>", column_class, text_of(cell));
}

std::string table(const Json& part) {
  const std::vector<std::string> classes = column_classes(part);
  std::string html =
      fmt::format("<h2>{}</h2><div class='table'><table><tr>", text_of(part.at("title")));
  for (size_t i = 0; i < classes.size(); ++i) {
    html += fmt::format("<th class='{}'>{}</th>", classes[i], text_of(part.at("columns")[i]));
  }
  html += "</tr>";
  for (const Json& row : part.at("rows")) {
    html += "<tr>";
    for (size_t i = 0; i < row.size(); ++i) html += cell_html(row[i], classes.at(i));
    html += "</tr>";
  }
  return html + "</table></div>" + note_of(part);
}

void write_file(const std::string& path, const std::string& text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

}  // namespace

std::string report_html(const Json& report) {
  const std::string name = report.contains("name") ? text_of(report.at("name")) : "run";
  std::string html = fmt::format(
      "<!doctype html><html lang='en'><meta charset='utf-8'>"
      "<meta name='viewport' content='width=device-width, initial-scale=1'>"
      "<title>{0}</title><style>{1}</style><h1>{0}</h1>",
      name, kStyle);
  if (report.contains("summary")) html += cards(report.at("summary"));
  for (const Json& part : report.value("charts", Json::array())) html += chart(part);
  for (const Json& part : report.value("tables", Json::array())) html += table(part);
  for (const Json& part : report.value("texts", Json::array())) {
    html += fmt::format("<h2>{}</h2><pre>{}</pre>", text_of(part.at("title")),
                        text_of(part.at("text")));
  }
  return html + "</html>\n";
}

void write_report(const std::string& output_dir, const Json& report) {
  write_file(output_dir + "/report.json",
             report.dump(1, ' ', false, Json::error_handler_t::replace) + "\n");
  write_file(output_dir + "/report.html", report_html(report));
}

}  // namespace wattle
