#include "trainer/models/build_model.h"

#include "common/error.h"
#include "trainer/models/families.h"

namespace wattle {

Model build_model(const ModelOptions& options, uint64_t seed, at::ScalarType dtype) {
  Model model;
  const Scope scope(model, seed, dtype);
  switch (options.family) {
    case ModelFamily::kGpt2:
      build_gpt2(options, scope);
      break;
    case ModelFamily::kLlama:
      build_llama(options, scope);
      break;
    case ModelFamily::kMlp:
      build_mlp(options, scope);
      break;
    case ModelFamily::kResnet:
      build_resnet(options, scope);
      break;
    case ModelFamily::kVgg:
      build_vgg(options, scope);
      break;
    case ModelFamily::kFromFile:
      throw Error(ErrorCode::kConfig, "model.family: only the file that init_from names says it");
  }
  return model;
}

}  // namespace wattle
