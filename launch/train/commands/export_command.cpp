#include "common/error.h"
#include "launch/train/commands/commands.h"
#include "launch/train/exports.h"

namespace wattle {

int export_command(const RunSession& session) {
  if (session.config.exports.empty()) {
    throw Error(ErrorCode::kConfig, "export: the file lists nothing to write");
  }
  set_up_threads(session);
  const ShapedModel shaped = trained_model(session);
  if (session.world.rank() != 0) return kExitDone;
  std::vector<NamedTensor> parameters;
  for (const Parameter* p : shaped.model.parameters) parameters.push_back({p->name(), p->value()});
  write_exports(session.config, {shaped.options, shaped.model, std::move(parameters),
                                 shaped.deployment, shaped.compression_ledger, shaped.tokenizer});
  return kExitDone;
}

}  // namespace wattle
