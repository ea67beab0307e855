#include "compression/report/compression_report.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "tests/compression/compression_support.h"

namespace wattle {
namespace {

using testing::HasSubstr;
using testing::Not;
using Json = nlohmann::ordered_json;

/// A model of which one weight is quantised to Q4_0.
class CompressionReport : public testing::Test {
 protected:
  CompressionReport() : model_(build_model(support::tiny_llama(), 1)) {
    const Parameter& weight = *model_.weights.back().weight;
    name_ = weight.name();
    deployment_[name_] = {.values = weight.value().detach().clone(),
                          .format = make_weight_format("gguf:q4_0"),
                          .scales = std::nullopt};
  }
  Json report() const {
    Json report = {{"summary", Json::array()}, {"tables", Json::array()}, {"texts", Json::array()}};
    add_compression({.model = model_,
                     .deployment = deployment_,
                     .ledger_hash = "",
                     .steps = 6,
                     .baselines = {},
                     .gptq = {},
                     .quantizers = {},
                     .inference = {},
                     .loss_effects = {{name_, 0.25}},
                     .activations = {},
                     .clipped_shares = {},
                     .not_measured = "",
                     .unit = "token",
                     .loss_unit = "nats"},
                    report);
    return report;
  }
  static Json table(const Json& report, const std::string& title) {
    for (const Json& table : report.at("tables")) {
      if (table.at("title") == title) return table;
    }
    return {};
  }

  Model model_;
  std::string name_;
  Deployment deployment_;
};

TEST_F(CompressionReport, SaysThatALossIsOfOneTensorInFloatAmongRoundedOnes) {
  const Json found = report();
  EXPECT_EQ(found.at("compression").at("tensors").at(0).at("loss_effect"), 0.25);
  const std::string note = table(found, "Compressed tensors").at("note");
  EXPECT_THAT(note, HasSubstr("how much less it is with this tensor in float and all others "
                              "rounded (nats)"));
  EXPECT_THAT(note, Not(HasSubstr("this tensor alone")));
}

TEST_F(CompressionReport, SaysWhichTensorItsFormatCannotHoldAndHasAllElse) {
  deployment_.at(name_).values[3][5] = 1e6;  // a scale beyond f16
  const Json found = report(), compression = found.at("compression");
  const Json tensor = compression.at("tensors").at(0);
  for (const char* figure : {"mean_scale", "clipped_share", "signal_to_noise_db"}) {
    EXPECT_TRUE(tensor.at(figure).is_null()) << figure;
  }
  const int64_t values = deployment_.at(name_).values.numel();
  EXPECT_EQ(tensor.at("bits_per_weight"), 4.5);
  EXPECT_EQ(tensor.at("bytes_after"), values / 32 * 18);
  EXPECT_EQ(
      compression.at("bytes_before").get<int64_t>() - compression.at("bytes_after").get<int64_t>(),
      4 * values - values / 32 * 18);
  EXPECT_THAT(compression.at("not_measured").get<std::string>(), HasSubstr(name_ + ": "));
  EXPECT_THAT(found.at("texts").dump(), HasSubstr("What was not measured"));
  EXPECT_THAT(table(found, "Compressed tensors").at("rows").at(0).dump(),
              HasSubstr("4.5,null,null,null"));
}

}  // namespace
}  // namespace wattle
