#include <filesystem>
#include <iostream>

#include "common/error.h"
#include "launch/train/commands.h"
#include "trainer/models/weights/model_file.h"

namespace wattle {

void write_exports(const RunConfig& config, const ModelOptions& options,
                   const std::vector<NamedTensor>& parameters) {
  for (const ExportOptions& wanted : config.exports) {
    const std::filesystem::path folder =
        std::filesystem::path(config.run.output_dir) / "export" / wanted.path;
    save_hugging_face(folder, options, parameters, DType::kF32);
    std::cerr << "exported: " << folder.string() << std::endl;
  }
}

int export_command(const RunSession& session) {
  if (session.config.exports.empty()) {
    throw Error(ErrorCode::kConfig, "export: the file lists nothing to write");
  }
  set_up_threads(session);
  const ShapedModel shaped = trained_model(session);
  if (session.world.rank() != 0) return kExitDone;
  std::vector<NamedTensor> parameters;
  for (const Parameter* p : shaped.model.parameters) parameters.push_back({p->name(), p->value()});
  write_exports(session.config, shaped.options, parameters);
  return kExitDone;
}

}  // namespace wattle
