#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "common/config/schema.h"
#include "compression/compression_options.h"
#include "formats/tensor_info.h"

namespace wattle {

/// One entry of the list `export:`.
struct ExportOptions {
  enum class Format { kSafetensors, kGguf, kCompressedTensors, kOnnx };
  enum class Type { kAuto, kF32, kF16, kBf16, kQ8_0, kQ6K, kQ4_0, kQ4_1, kTq2_0 };

  Format format = Format::kSafetensors;
  std::optional<std::string> path;
  Type type = Type::kAuto;
  EmbeddingFormat embeddings = EmbeddingFormat::kMixed;
  bool masters = false;

  void describe(Fields& f);
  std::string resolved_path() const;
  /// The same below a run's output_dir, without detours.
  std::filesystem::path place_below(const std::filesystem::path& output_dir) const;
};

}  // namespace wattle
