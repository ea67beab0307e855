#pragma once

#include <span>
#include <string>

#include "compression/deployment.h"
#include "trainer/models/model_options.h"
#include "trainer/state/named_tensor.h"

namespace wattle {

/// Writes config.json and model.safetensors into `folder` in one step (AtomicFolder), so that vLLM,
/// and transformers with the package compressed-tensors, load a llama with its quantised weights:
/// integers of 2, 4 or 8 bits as "pack-quantized", fp8 as "float-quantized"; weights without a
/// deployment and norms as F32.
///
/// `ledger`: the compression ledger, whose hash becomes metadata under kLedgerKey; "" without.
/// `parameters`: whole values by their names in the model; of quantised weights their deployment is
/// taken. Throws Error(kIo); Error(kUnsupported) for a model or a format that such a folder can't
/// hold: another family, an embedding that is quantised, ggml's blocks, 16 bits, ternary, or fp8
/// together with integers.
void save_compressed_tensors(const std::string& folder, const ModelOptions& options,
                             std::span<const NamedTensor> parameters, const Deployment& deployment,
                             const std::string& ledger);

}  // namespace wattle
