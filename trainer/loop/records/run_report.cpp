#include "trainer/loop/records/run_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "common/run/progress.h"
#include "trainer/loop/energy/energy_tables.h"

namespace wattle {
namespace {

using Json = nlohmann::ordered_json;

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::ranges::sort(values);
  return values[values.size() / 2];
}

/// The metrics, seen from what a report shows.
class History {
 public:
  explicit History(const std::vector<MetricsRecord>& records) {
    int64_t attempt = 0;
    for (const MetricsRecord& r : records) attempt = std::max(attempt, r.attempt);
    for (const MetricsRecord& r : records) {
      if (r.phase == "evaluate") evaluations_.push_back(r);
      if (r.phase != "train") continue;
      training_.push_back(r);
      if (r.attempt == attempt) current_.push_back(r);
    }
  }

  /// Every step once: of a step that was trained again, the last time.
  std::vector<MetricsRecord> steps() const {
    std::map<int64_t, MetricsRecord> last;
    for (const MetricsRecord& r : training_) last[r.step] = r;
    std::vector<MetricsRecord> steps;
    for (const auto& [step, r] : last) steps.push_back(r);
    return steps;
  }
  const std::vector<MetricsRecord>& all() const { return training_; }
  const std::vector<MetricsRecord>& evaluations() const { return evaluations_; }

  /// Median over this attempt's steps but the first.
  template <class Get>
  double usual(Get get) const {
    std::vector<double> values;
    for (size_t i = current_.size() > 1 ? 1 : 0; i < current_.size(); ++i) {
      values.push_back(get(current_[i]));
    }
    return median(std::move(values));
  }
  int64_t tokens() const {
    int64_t tokens = 0;
    for (const MetricsRecord& r : steps()) tokens += r.tokens.value_or(0);
    return tokens;
  }
  int64_t peak_memory_bytes() const {
    int64_t peak = 0;
    for (const MetricsRecord& r : current_) peak = std::max(peak, r.peak_memory_bytes);
    return peak;
  }

 private:
  std::vector<MetricsRecord> training_, current_, evaluations_;
};

Json energy_json(const RunFacts& facts, const EnergyLedger& ledger, const History& history) {
  Json energy = {{"source", facts.energy_source}, {"wall_seconds", facts.wall_seconds}};
  energy.update(ledger_json(ledger, facts.lost_joules));
  const double steps_joules = history.all().empty() || !history.all().back().energy_joules_total
                                  ? 0
                                  : *history.all().back().energy_joules_total;
  if (steps_joules > 0 && facts.steps > 0) {
    energy["per_step_joules"] = steps_joules / static_cast<double>(facts.steps);
    energy["per_sample_joules"] =
        steps_joules / static_cast<double>(facts.steps * facts.global_batch);
    if (history.tokens() > 0) {
      energy["per_token_joules"] = steps_joules / static_cast<double>(history.tokens());
    }
  }
  return energy;
}

Json parallel_json(const RunFacts& facts, const History& history) {
  Json parallel = {{"ranks", facts.ranks}, {"threads", facts.threads}};
  const double step = history.usual([](const auto& r) { return r.step_seconds; });
  if (facts.one_rank_step_seconds > 0 && step > 0) {
    const double speed_up = facts.one_rank_step_seconds / step;
    parallel["one_rank_step_seconds"] = facts.one_rank_step_seconds;
    parallel["step_seconds"] = step;
    parallel["speed_up"] = speed_up;
    parallel["efficiency"] = speed_up / static_cast<double>(facts.ranks);
    parallel["note"] = fmt::format(
        "one rank with as many threads as each of the {} has, {} steps of the same global batch, "
        "measured before training while the others waited",
        facts.ranks, facts.one_rank_steps);
  }
  return parallel;
}

Json card(const std::string& label, const std::string& value, const std::string& note) {
  return {{"label", label}, {"value", value}, {"note", note}};
}

Json summary(const RunFacts& facts, const EnergyLedger& ledger, const History& history,
             const Json& report) {
  const bool estimated = facts.energy_source.find("estimated") != std::string::npos;
  Json cards = Json::array();
  cards.push_back(card("Run", facts.ended,
                       fmt::format("{} steps of {} samples", facts.steps, facts.global_batch)));
  if (!history.evaluations().empty()) {
    const MetricsRecord& e = history.evaluations().back();
    const std::string note = e.perplexity ? fmt::format("perplexity {:.3f}", *e.perplexity)
                             : e.accuracy ? fmt::format("accuracy {:.2f} %", 100 * *e.accuracy)
                                          : "";
    cards.push_back(card("Validation loss", fmt::format("{:.4f}", *e.eval_loss), note));
  }
  if (history.tokens() > 0) {
    cards.push_back(card("Tokens a second", fmt::format("{:.0f}", history.usual([](const auto& r) {
                           return r.tokens_per_s.value_or(0);
                         })),
                         "median step, all ranks"));
  } else {
    cards.push_back(card("Samples a second", fmt::format("{:.0f}", history.usual([](const auto& r) {
                           return r.samples_per_s.value_or(0);
                         })),
                         "median step, all ranks"));
  }
  const double joules = ledger.run().joules.total() + facts.lost_joules;
  cards.push_back(joules > 0 ? card("Energy", joules_text(joules, estimated),
                                    facts.energy_source + ", whole run, all ranks and attempts")
                             : card("Energy", "unavailable", "no meter and no model"));
  if (report.at("energy").contains("per_token_joules")) {
    cards.push_back(
        card("Energy a token",
             fmt::format("{}{:.3g} mJ", estimated ? "~" : "",
                         1e3 * report.at("energy").at("per_token_joules").get<double>()),
             "training steps"));
  }
  if (report.at("parallel").contains("speed_up")) {
    const Json& p = report.at("parallel");
    cards.push_back(card(
        "Speed-up", fmt::format("{:.2f} x", p.at("speed_up").get<double>()),
        fmt::format("over one rank; efficiency {:.0f} %", 100 * p.at("efficiency").get<double>())));
  }
  cards.push_back(card("Peak memory", fmt::format("{:.0f} MB", history.peak_memory_bytes() / 1e6),
                       "largest rank"));
  return cards;
}

Json charts(const History& history, const std::string& source, const std::string& loss_unit) {
  Json loss = Json::array(), validation = Json::array(), power = Json::array();
  for (const MetricsRecord& r : history.steps()) loss.push_back({r.step, *r.loss});
  for (const MetricsRecord& r : history.evaluations()) validation.push_back({r.step, *r.eval_loss});
  double seconds = 0;
  for (const MetricsRecord& r : history.all()) {
    seconds += r.step_seconds;
    power.push_back({seconds, r.power_watts ? Json(*r.power_watts) : Json(nullptr)});
  }
  return {{{"title", "Loss"},
           {"x_label", "step"},
           {"y_label", loss_unit},
           {"series",
            {{{"label", "training"}, {"points", loss}},
             {{"label", "validation"}, {"points", validation}, {"dots", true}}}}},
          {{"title", "Power"},
           {"x_label", "seconds of training steps"},
           {"y_label", "watts"},
           {"note", "mean over each step, all ranks; " + source},
           {"series", {{{"label", "power"}, {"points", power}}}}}};
}

}  // namespace

std::string processor_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown processor";
}

Json make_report(const RunFacts& facts, const EnergyLedger& ledger,
                 const std::vector<MetricsRecord>& records) {
  const History history(records);
  Json report = {{"name", facts.name}};
  report["training"] = {
      {"ended", facts.ended},
      {"model", facts.model},
      {"parameters", facts.parameters},
      {"steps", facts.steps},
      {"global_batch", facts.global_batch},
      {"micro_batch", facts.micro_batch},
      {"tokens", history.tokens()},
      {"step_seconds", history.usual([](const auto& r) { return r.step_seconds; })},
      {"tokens_per_s", history.usual([](const auto& r) { return r.tokens_per_s.value_or(0); })},
      {"samples_per_s", history.usual([](const auto& r) { return r.samples_per_s.value_or(0); })},
      {"mfu", history.usual([](const auto& r) { return r.mfu.value_or(0); })},
      {"peak_memory_bytes", history.peak_memory_bytes()}};
  if (!history.evaluations().empty()) {
    report["evaluation"] = Json::parse(history.evaluations().back().to_json());
  }
  report["energy"] = energy_json(facts, ledger, history);
  report["parallel"] = parallel_json(facts, history);
  report["data"] = {{"stream_hash", facts.stream_hash}};
  report["machine"] = {{"processor", facts.processor}, {"matmul_flops_per_s", facts.matmul_rate}};
  report["summary"] = summary(facts, ledger, history, report);
  report["charts"] = charts(history, facts.energy_source, facts.loss_unit);
  report["tables"] = energy_tables(ledger, facts.lost_joules);
  report["texts"] = Json::array();
  if (facts.sample) report["texts"].push_back({{"title", "A sample"}, {"text", *facts.sample}});
  return report;
}

}  // namespace wattle
