// What weights_client_test.py needs of model files, as a program:
//   convert MODEL FOLDER TYPE       reads a model and saves it for transformers
//   logits MODEL TOKENS OUTPUT      int64 tokens of one sequence to float32 logits [seq, vocab]
#include <ATen/ops/from_blob.h>
#include <c10/core/GradMode.h>

#include <cstdio>
#include <string>
#include <vector>

#include "common/atomic_file.h"
#include "common/error.h"
#include "common/mapped_file.h"
#include "trainer/models/build_model.h"
#include "trainer/models/weights/model_file.h"

namespace wattle {
namespace {

struct Loaded {
  ModelOptions options;
  Model model;
};

Loaded load(const std::string& path) {
  const ModelFile file(path);
  const ModelOptions options = file.options({});
  Loaded loaded{options, build_model(options, 1)};
  file.load(options, loaded.model.parameters);
  return loaded;
}

void convert(const std::string& from, const std::string& to, const std::string& type) {
  const Loaded loaded = load(from);
  std::vector<NamedTensor> values;
  for (const Parameter* parameter : loaded.model.parameters) {
    values.push_back({parameter->name(), parameter->value()});
  }
  const std::optional<DType> dtype = dtype_of_safetensors(type);
  if (!dtype) throw Error(ErrorCode::kConfig, "unknown type " + type);
  save_hugging_face(to, loaded.options, values, *dtype);
}

void logits(const std::string& from, const std::string& tokens_path, const std::string& to) {
  const c10::AutoGradMode no_grad(false);
  Loaded loaded = load(from);
  const MappedFile file(tokens_path);
  const auto count = static_cast<int64_t>(file.bytes().size() / sizeof(int64_t));
  const at::Tensor tokens =
      at::from_blob(const_cast<std::byte*>(file.bytes().data()), {1, count}, at::kLong).clone();
  const at::Tensor activations = loaded.model.forward(tokens, {});
  const at::Tensor values = loaded.model.objective->predict(activations).contiguous();
  AtomicFile output(to);
  output.write({static_cast<const std::byte*>(values.data_ptr()), values.nbytes()});
  output.commit();
}

int run(const std::vector<std::string>& words) {
  if (words.size() == 4 && words[0] == "convert") {
    convert(words[1], words[2], words[3]);
  } else if (words.size() == 4 && words[0] == "logits") {
    logits(words[1], words[2], words[3]);
  } else {
    throw Error(ErrorCode::kConfig, "the first lines of weights_client.cpp show the usage");
  }
  return kExitDone;
}

}  // namespace
}  // namespace wattle

int main(int argc, char** argv) {
  try {
    return wattle::run({argv + 1, argv + argc});
  } catch (const wattle::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return wattle::exit_code(error.code());
  }
}
