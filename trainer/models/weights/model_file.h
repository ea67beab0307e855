#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "formats/gguf/gguf.h"
#include "trainer/models/model_options.h"
#include "trainer/nn/parameter.h"
#include "trainer/state/named_tensor.h"

namespace wattle {

/// A model that others wrote, of the gpt2 or llama family: a GGUF file (F32, F16, BF16, Q8_0, Q6_K,
/// Q4_0, Q4_1) or a Hugging Face folder (config.json and safetensors, whole or in shards; F32, F16,
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

/// Writes config.json and model.safetensors into `folder` in one step (AtomicFolder; made if
/// missing), so that transformers loads it. `parameters`: whole values under their names in the
/// model, on the CPU, of any float type. `dtype`: F32, F16 or BF16; float32 values in F32 are kept
/// bit for bit. Throws Error(kIo); Error(kUnsupported) for a family that Hugging Face doesn't have
/// in this form; Error(kInternal) if they aren't all the parameters of a model of these options.
/// `metadata`: keys of the writer's own in the safetensors header.
void save_hugging_face(const std::string& folder, const ModelOptions& options,
                       std::span<const NamedTensor> parameters, DType dtype,
                       const std::map<std::string, std::string>& metadata = {});

/// What a GGUF file is to hold besides the numbers.
struct GgufContents {
  /// Of matrices by their parameter's name, others are of `dtype`. Vectors and learned positions
  /// are always F32, as llama.cpp wants them.
  std::map<std::string, DType> types;
  DType dtype = DType::kF32;
  /// The keys "tokenizer.*" of the file that the tokenizer came from. Without any,
  /// tokenizer.ggml.model is "none", and the file loads as a model of tokens alone.
  GgufMetadata tokenizer;
  GgufMetadata more;  ///< keys of the writer's own, put last
};

/// Writes a file that llama.cpp loads: architecture llama or gpt2. The values are encoded as they
/// are, by encode() of formats/ggml_blocks.h; equal values and contents give equal bytes. Throws
/// Error(kIo), Error(kUnsupported) and Error(kInternal) as save_hugging_face() does, Error(kConfig)
/// if the tokenizer has another number of tokens than the model.
void save_gguf(const std::string& path, const ModelOptions& options,
               std::span<const NamedTensor> parameters, const GgufContents& contents);

/// The keys "tokenizer.*" of a GGUF file, in its order.
GgufMetadata tokenizer_keys(const GgufMetadata& metadata);

}  // namespace wattle
