#include "launch/train/config/export_options.h"

#include <algorithm>

namespace wattle {

void ExportOptions::describe(Fields& f) {
  f.choice(
      "format", format,
      {{"safetensors", Format::kSafetensors},
       {"gguf", Format::kGguf},
       {"compressed-tensors", Format::kCompressedTensors},
       {"onnx", Format::kOnnx}},
      "safetensors: a folder that Hugging Face transformers loads; gguf: a file that llama.cpp "
      "loads; compressed-tensors: a folder with quantised weights that vLLM loads; onnx: a file of "
      "mlp, "
      "resnet and vgg for ONNX Runtime, with what is quantised in the QDQ form");
  f("path", path, "where to; relative paths lie below output_dir/export")
      .default_is("safetensors, model.gguf, compressed-tensors or model.onnx");
  f.choice("type", type,
           {{"auto", Type::kAuto},
            {"f32", Type::kF32},
            {"f16", Type::kF16},
            {"bf16", Type::kBf16},
            {"q8_0", Type::kQ8_0},
            {"q6_k", Type::kQ6K},
            {"q4_0", Type::kQ4_0},
            {"q4_1", Type::kQ4_1},
            {"tq2_0", Type::kTq2_0}},
           "gguf: auto writes each weight in the format that it was trained in, f32 without; any "
           "other rounds once more, after training");
  f.choice("embeddings", embeddings,
           {{"mixed", EmbeddingFormat::kMixed},
            {"target", EmbeddingFormat::kTarget},
            {"float", EmbeddingFormat::kFloat}},
           "with a q type: what becomes of embedding and output layer, as in compression");
  f("masters", masters,
    "gguf with a type of its own, safetensors: the weights before rounding, as the optimizer has "
    "them, instead of those that forward reads");
  f.check([this](Checker& c) {
    const std::filesystem::path wanted = resolved_path();
    const bool climbs = std::ranges::find(wanted, "..") != wanted.end();
    c.require(wanted.is_absolute() || !climbs, "path",
              "leaves output_dir/export; give an absolute path for a place outside of it");
    const bool is_gguf = format == Format::kGguf;
    c.require(is_gguf || type == Type::kAuto, "type", "only gguf has this setting");
    const bool blocks = type == Type::kQ8_0 || type == Type::kQ6K || type == Type::kQ4_0 ||
                        type == Type::kQ4_1 || type == Type::kTq2_0;
    const bool own = is_gguf && type != Type::kAuto;
    c.require(!masters || own || format == Format::kSafetensors, "masters",
              "needs safetensors, or gguf with a type other than auto");
    c.require(blocks || embeddings == EmbeddingFormat::kMixed, "embeddings", "needs a q type");
  });
}

std::string ExportOptions::resolved_path() const {
  if (path) return *path;
  if (format == Format::kCompressedTensors) return "compressed-tensors";
  if (format == Format::kOnnx) return "model.onnx";
  return format == Format::kGguf ? "model.gguf" : "safetensors";
}

std::filesystem::path ExportOptions::place_below(const std::filesystem::path& output_dir) const {
  const std::filesystem::path place = (output_dir / "export" / resolved_path()).lexically_normal();
  return place.has_filename() ? place : place.parent_path();
}

}  // namespace wattle
