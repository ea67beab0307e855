#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "formats/tensor_info.h"
#include "trainer/models/model_options.h"
#include "trainer/nn/parameter.h"
#include "trainer/state/named_tensor.h"

namespace wattle {

/// A model that others wrote, of the gpt2 or llama family: a GGUF file (F32, F16, BF16, Q8_0, Q4_0,
/// Q4_1) or a Hugging Face folder (config.json and safetensors, whole or in shards; F32, F16,
/// BF16).
///
///     const ModelFile file(path);
///     const ModelOptions options = file.options(base);
///     Model model = build_model(options, seed);
///     file.load(options, model.parameters);
///
/// Throws Error(kIo), Error(kFormat) and Error(kUnsupported); the messages name the file and the
/// tensor or key. Threading: any number of threads may read.
class ModelFile {
 public:
  explicit ModelFile(const std::string& path);
  ~ModelFile();

  /// The shape from the file; the other keys (dropout) as in `base`.
  ModelOptions options(const ModelOptions& base) const;

  /// Overwrites the working values of a model of these options, which must be all the parameters
  /// of one process and lie on the CPU; quantised values arrive dequantised. A file with a tensor
  /// that the model has no place for is refused: it would be another model.
  void load(const ModelOptions& options, std::span<Parameter* const> parameters) const;

 private:
  struct Content;
  std::unique_ptr<Content> content_;
};

/// Writes config.json and model.safetensors into `folder` (made if missing), so that transformers
/// loads it. `parameters`: whole values under their names in the model, on the CPU, of any float
/// type. `dtype`: F32, F16 or BF16; float32 values in F32 are kept bit for bit. Throws
/// Error(kIo); Error(kUnsupported) for a family that Hugging Face doesn't have in this form;
/// Error(kInternal) if they aren't all the parameters of a model of these options.
void save_hugging_face(const std::string& folder, const ModelOptions& options,
                       std::span<const NamedTensor> parameters, DType dtype);

}  // namespace wattle
