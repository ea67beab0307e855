#include <fmt/format.h>

#include <map>

#include "common/atomic_file.h"
#include "common/error.h"
#include "formats/safetensors/safetensors.h"
#include "trainer/models/weights/file_options.h"
#include "trainer/models/weights/model_file.h"
#include "trainer/models/weights/parts.h"

namespace wattle {
namespace {

const char* torch_name(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return "float32";
    case DType::kF16:
      return "float16";
    case DType::kBF16:
      return "bfloat16";
    default:
      throw Error(ErrorCode::kUnsupported,
                  fmt::format("a Hugging Face model is saved as F32, F16 or BF16, not as {}",
                              name_of(dtype)));
  }
}

}  // namespace

void save_hugging_face(const std::string& folder, const ModelOptions& options,
                       std::span<const NamedTensor> parameters, DType dtype,
                       const std::map<std::string, std::string>& metadata) {
  const std::string config = config_json_of(options, torch_name(dtype));
  std::map<std::string, Part> parts;
  std::vector<TensorSpec> specs;
  for (Part& part : parts_of(options, Naming::kHuggingFace, parameters)) {
    specs.push_back({part.piece.tensor, dtype, part.shape_in_file()});
    parts.emplace(part.piece.tensor, std::move(part));
  }
  AtomicFolder target(folder);
  std::map<std::string, std::string> all = {{"format", "pt"}};
  all.insert(metadata.begin(), metadata.end());
  SafetensorsWriter writer(target.aside() / "model.safetensors", std::move(specs), all);
  for (const TensorSpec& spec : writer.order()) {
    writer.append(parts.at(spec.name).encoded(dtype));
  }
  writer.finish();
  AtomicFile file(target.aside() / "config.json");
  file.write(config);
  file.commit();
  target.commit();
}

}  // namespace wattle
