#pragma once

#include <string>

#include "formats/gguf/gguf.h"
#include "trainer/models/model_options.h"

namespace wattle {

// What a model file says about its model's shape, put into a copy of `base`, whose other keys
// (dropout) stay. Error(kFormat) if a key is missing or impossible, Error(kUnsupported) for a
// family or a variant (another activation, scaled rotary positions, biases) that Wattle doesn't
// have.

/// Of a Hugging Face config.json (model_type gpt2 or llama).
ModelOptions options_from_config_json(const std::string& path, const ModelOptions& base);

/// The config.json with which transformers loads such a model.
std::string config_json_of(const ModelOptions& options, const std::string& torch_dtype);

/// Of a GGUF file's keys (general.architecture gpt2 or llama); the embeddings are tied if there is
/// no tensor output.weight.
ModelOptions options_from_gguf(const GgufFile& file, const ModelOptions& base);

/// The keys of a GGUF file with which options_from_gguf() and llama.cpp find the same shape.
GgufMetadata gguf_metadata_of(const ModelOptions& options);

}  // namespace wattle
