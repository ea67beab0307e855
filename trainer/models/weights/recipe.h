#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "trainer/models/model_options.h"

namespace wattle {

/// How a file's tensor lies in relation to the model's own convention: weights [outputs, inputs],
/// and rotary pairs that are (i, i + head_width / 2) of a head, as in Hugging Face's llama.
enum class Layout {
  kSame,
  kTransposed,     ///< [inputs, outputs]: Hugging Face's Conv1D in GPT-2
  kPairsAdjacent,  ///< rotary pairs are neighbouring rows (2i, 2i + 1): llama in GGUF
};

/// Rows of a parameter and the file's tensor that holds them.
struct Piece {
  std::string tensor;
  int64_t rows = 0;
  Layout layout = Layout::kSame;
  int64_t heads = 0;  ///< for kPairsAdjacent
};

/// One parameter of the model, made of pieces one below the other.
struct Recipe {
  std::string parameter;
  std::vector<Piece> pieces;
};

enum class Naming { kHuggingFace, kGguf };

/// Every parameter of a gpt2 or llama of this shape, in the order of the forward pass. Throws
/// Error(kUnsupported) for another family.
std::vector<Recipe> recipes_of(const ModelOptions& options, Naming naming);

}  // namespace wattle
