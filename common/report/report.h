#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace wattle {

/// Writes report.json and report.html into `output_dir`, each aside and renamed.
///
/// The page is made from the JSON object alone and needs no network. Keys that it shows, where
/// they are there:
///   name, summary: [{label, value, note}]          figures at the top, as text
///   charts: [{title, x_label, y_label, note, series: [{label, points: [[x, y], ...], dots}]}]
///   tables: [{title, note, columns: [...], rows: [[...], ...]}]   cells are text or numbers,
///                                                   at most one a column; "share" is drawn as a
///                                                   bar (0 to 1)
///   texts: [{title, text}]                          shown as they are
/// Other keys are for programs. Throws Error(kIo).
void write_report(const std::string& output_dir, const nlohmann::ordered_json& report);

/// The page alone.
std::string report_html(const nlohmann::ordered_json& report);

}  // namespace wattle
