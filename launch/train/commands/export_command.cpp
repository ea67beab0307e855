#include <fmt/ranges.h>

#include "common/error.h"
#include "launch/train/commands/commands.h"
#include "launch/train/exports.h"

namespace wattle {

int export_command(const RunSession& session) {
  if (session.config.exports.empty()) {
    throw Error(ErrorCode::kConfig, "export: the file lists nothing to write");
  }
  set_up_threads(session);
  ShapedModel shaped = trained_model(session);
  if (!shaped.not_yet_quantised.empty()) {
    throw Error(ErrorCode::kConfig,
                fmt::format("export: {}: the files would hold floats; train on, or take the float "
                            "weights with --set evaluate.masters=true",
                            fmt::join(shaped.not_yet_quantised, "; ")));
  }
  if (session.world.rank() != 0) return kExitDone;
  const ExportedFiles files = write_exports(
      session.config, {shaped.options, shaped.model, shaped.parameters(), shaped.deployment,
                       shaped.compression_ledger, shaped.tokenizer, shaped.inputs});
  if (files.failure) std::rethrow_exception(files.failure);
  return kExitDone;
}

}  // namespace wattle
