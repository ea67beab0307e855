#include "compression/export/export_refusals.h"

#include "compression/formats/grid_format.h"

namespace wattle {

using Kind = GridFormatOptions::Kind;

std::string gguf_refusal(const WeightFormat& format) {
  if (format.block_type()) return "";
  return "expected a gguf target, or a type of the export's own, as f32";
}

std::string compressed_tensors_refusal(const WeightFormat& format) {
  const GridFormatOptions* grid = format.grid();
  const bool held =
      grid && grid->kind != Kind::kTernary && (grid->kind == Kind::kFp8 || grid->bits <= 8);
  return held ? "" : "expected int2, int4, int8 or fp8";
}

std::string onnx_refusal(const WeightFormat& format) {
  const GridFormatOptions* grid = format.grid();
  return grid && grid->kind == Kind::kInteger ? "" : "expected int2, int4, int8 or int16";
}

}  // namespace wattle
