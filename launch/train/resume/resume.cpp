#include "launch/train/resume/resume.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "common/error.h"
#include "trainer/checkpoint/checkpoint_reader.h"

namespace wattle {
namespace {

StreamHash parse_lanes(const std::string& text) {
  return StreamHash(nlohmann::json::parse(text).get<std::array<int64_t, 2>>());
}

/// What the metrics of earlier attempts say: the last attempt, and all joules, lost steps too.
void read_history(const std::string& path, ResumePoint& resume) {
  for (const MetricsRecord& record : read_metrics(path)) {
    resume.attempt = std::max(resume.attempt, record.attempt + 1);
    resume.earlier_energy.run_joules =
        std::max(resume.earlier_energy.run_joules, record.run_energy_joules.value_or(0));
  }
}

void check_same_order(const CheckpointMeta& meta, const RunConfig& config,
                      const std::filesystem::path& path) {
  if (meta.seed != config.run.seed) {
    throw Error(ErrorCode::kConfig,
                fmt::format("run.seed: {}, but {} was trained with {}: the order of samples would "
                            "change; use another run.output_dir",
                            config.run.seed, path.string(), meta.seed));
  }
  if (meta.samples != meta.step * config.train.global_batch) {
    throw Error(ErrorCode::kConfig,
                fmt::format("train.global_batch: {}, but {} consumed {} samples in {} steps",
                            config.train.global_batch, path.string(), meta.samples, meta.step));
  }
}

/// The path of the newest whole checkpoint or "", as rank 0 sees it.
std::string choose_checkpoint(const RunSession& session, Checkpointer& checkpointer,
                              ResumePoint& resume) {
  const RunConfig& config = session.config;
  checkpointer.folder().remove_stale();
  FoundCheckpoint found = checkpointer.folder().find_newest_whole();
  resume.warnings = std::move(found.warnings);
  if (found.newest && config.run.resume == RunOptions::Resume::kNever) {
    throw Error(ErrorCode::kConfig,
                fmt::format("run.resume: never, but {} holds a checkpoint; use another "
                            "run.output_dir or resume: auto",
                            config.run.output_dir));
  }
  for (const std::filesystem::path& broken : found.broken) {
    checkpointer.folder().set_aside(broken, "broken");
  }
  return found.newest ? found.newest->string() : "";
}

}  // namespace

ResumePoint find_resume_point(const RunSession& session, const RunIdentity& identity,
                              Checkpointer& checkpointer, FiguresExchange& exchange) {
  ResumePoint resume;
  std::string path;
  if (exchange.rank() == 0) {
    path = choose_checkpoint(session, checkpointer, resume);
    read_history(session.config.run.output_dir + "/metrics.jsonl", resume);
  }
  path = exchange.gather_texts(path).front();
  resume.attempt = std::stoll(exchange.gather_texts(std::to_string(resume.attempt)).front());
  if (path.empty()) return resume;

  const CheckpointReader reader(path);
  const CheckpointMeta& meta = reader.meta();
  check_same_order(meta, session.config, path);
  if (const auto then = meta.sections.find("run"); then != meta.sections.end()) {
    check_same_run(identity, identity_from_section(then->second), session.config.run.deterministic,
                   path);
  } else {
    resume.warnings.push_back(path + ": says not with which settings it was trained");
  }
  resume.checkpoint = path;
  resume.step = meta.step;
  resume.sections = meta.sections;
  resume.consumed = parse_lanes(meta.sections.at("stream_lanes"));
  resume.attempt = std::max(resume.attempt, meta.attempt + 1);
  if (exchange.rank() == 0) {
    resume.earlier_energy.ledger = EnergyLedger::parse(meta.sections.at("energy"));
    resume.earlier_energy.training_joules = std::stod(meta.sections.at("training_joules"));
  }
  return resume;
}

void restore(const ResumePoint& resume, TrainingState& state) {
  if (!resume.checkpoint) return;
  const CheckpointReader reader(*resume.checkpoint);
  reader.read(slices_of(state, {0, state.parameters.layout().numel}));
  state.parameters.publish();
}

}  // namespace wattle
