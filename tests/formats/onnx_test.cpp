#include "formats/onnx.h"

#include <gmock/gmock.h>

namespace wattle {
namespace {

using testing::HasSubstr;

OnnxModel tiny() {
  OnnxModel model;
  model.graph_name = "g";
  model.inputs = {{"x", {"batch", int64_t{2}}}};
  model.outputs = {{"y", {"batch", int64_t{2}}}};
  model.constants = {{"w", OnnxType::kInt8, {2}, std::string("\x01\xff", 2)}};
  model.nodes = {{"Add", {"x", "w"}, {"y"}, {{"axis", int64_t{0}}}}};
  model.metadata = {{"key", "text"}};
  return model;
}

// The numbers of the fields are those of onnx.proto; the client tests read whole files.
TEST(Onnx, WritesTheFieldsOfTheSpecification) {
  const std::string bytes = onnx_bytes(tiny());
  EXPECT_EQ(bytes.substr(0, 2), std::string("\x08\x0a", 2)) << "ir_version 10";
  EXPECT_THAT(bytes, HasSubstr(std::string("\x12\x06wattle", 8)));
  EXPECT_THAT(bytes, HasSubstr(std::string("\x0a\x01x\x0a\x01w\x12\x01y", 9))) << "a node";
  EXPECT_THAT(bytes, HasSubstr(std::string("\x42\x04\x0a\x00\x10\x15", 6))) << "opset 21";
  EXPECT_THAT(bytes, HasSubstr(std::string("\x72\x0b\x0a\x03key\x12\x04text", 13)));
  EXPECT_THAT(bytes, HasSubstr(std::string("\x08\x02\x10\x03\x42\x01w\x4a\x02\x01\xff", 11)))
      << "dims, type, name, data";
}

TEST(Onnx, EqualModelsGiveEqualBytes) { EXPECT_EQ(onnx_bytes(tiny()), onnx_bytes(tiny())); }

}  // namespace
}  // namespace wattle
