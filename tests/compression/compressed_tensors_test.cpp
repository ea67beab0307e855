#include "compression/export/compressed_tensors.h"

#include <ATen/Parallel.h>
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "common/error.h"
#include "formats/safetensors/safetensors.h"
#include "tests/compression/compression_support.h"
#include "tests/support/killed_writer.h"
#include "tests/support/scratch_folder.h"

namespace wattle {
namespace {

constexpr const char* kWeight = "blocks.0.feed_forward.down.weight";
constexpr int64_t kColumns = 64;

class CompressedTensors : public testing::Test {
 protected:
  CompressedTensors() : model_(build_model(options_, 1)) {
    at::set_num_threads(1);  // a child that is forked has this thread alone
    for (const Parameter* parameter : model_.parameters) {
      parameters_.push_back({parameter->name(), parameter->value().detach()});
    }
  }
  ~CompressedTensors() override { at::set_num_threads(threads_); }

  void save(const std::string& format) const {
    Deployment deployment;
    for (const NamedTensor& parameter : parameters_) {
      if (parameter.name != kWeight) continue;
      deployment[kWeight] = {parameter.value, make_weight_format(format), {}};
    }
    save_compressed_tensors(folder_.path("model"), options_, parameters_, deployment, "");
  }
  nlohmann::json quantization() const {
    return nlohmann::json::parse(folder_.content("model/config.json")).at("quantization_config");
  }
  int64_t bits_of_config() const {
    return quantization().at("config_groups").at("group_0").at("weights").at("num_bits");
  }
  int64_t bits_of_file() const {
    const SafetensorsModel file(folder_.path("model"));
    const auto* words = file.tensors().find("model.layers.0.mlp.down_proj.weight_packed");
    return words == nullptr ? 0 : words->shape.at(1) * 32 / kColumns;
  }

  ModelOptions options_ = support::tiny_llama();
  int threads_ = at::get_num_threads();
  Model model_;
  std::vector<NamedTensor> parameters_;
  ScratchFolder folder_;
};

TEST_F(CompressedTensors, TheConfigSaysWhoseLayoutItIs) {
  save("int4:channel");
  EXPECT_EQ(quantization().at("quant_method"), "compressed-tensors");
  EXPECT_EQ(quantization().at("version"), "0.20.0");
}

TEST_F(CompressedTensors, AFolderThatCannotBeWrittenWholeStaysAsItWas) {
  save("int4:channel");
  std::filesystem::remove(folder_.path("model/config.json"));
  folder_.put("model/config.json/in_its_place", "");
  EXPECT_THROW(save("int8:channel"), Error);
  EXPECT_EQ(bits_of_file(), 4);
}

TEST_F(CompressedTensors, AKillAtAnyMomentLeavesAWholeFolder) {
  save("int4:channel");
  kill_while_writing(
      40, [this](int i) { save(i % 2 == 0 ? "int8:channel" : "int4:channel"); },
      [this](int kill) { ASSERT_EQ(bits_of_file(), bits_of_config()) << "after kill " << kill; });
}

}  // namespace
}  // namespace wattle
