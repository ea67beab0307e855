#include "energy/accounting/energy_ledger.h"

#include <gmock/gmock.h>

#include "common/error.h"
#include "energy/accounting/rank_readings.h"

namespace wattle {
namespace {

using testing::ElementsAre;

DeviceTotal device(const std::string& name, double joules) {
  DeviceTotal total;
  total.device = name;
  total.source = Source::kMeasuredNvml;
  total.joules = joules;
  total.seconds = 10;
  return total;
}

EnergyLedger some_ledger() {
  EnergyLedger ledger;
  ledger.set_layer_shares(Phase::kForward, {{"mlp", 0.5}});
  ledger.book(Phase::kForward, Source::kMeasuredNvml, 100);
  ledger.book(Phase::kForward, Source::kEstimatedModel, 10);
  ledger.book_seconds(Phase::kForward, 2);
  ledger.book(Phase::kEvaluation, Source::kMeasuredNvml, 7);
  ledger.set_devices({device("gpu:a", 107)});
  return ledger;
}

TEST(EnergyLedger, SurvivesACheckpoint) {
  const EnergyLedger ledger = some_ledger();
  const EnergyLedger restored = EnergyLedger::parse(ledger.serialize());
  EXPECT_EQ(restored.serialize(), ledger.serialize());
  EXPECT_EQ(restored.training().joules[Source::kMeasuredNvml], 100);
  EXPECT_EQ(restored.inference().joules.total(), 7);
  EXPECT_EQ(restored.layers().at({Phase::kForward, "mlp"}).joules.total(), 55);
}

TEST(EnergyLedger, AddsEarlierAttempts) {
  EnergyLedger ledger = some_ledger();
  ledger += EnergyLedger::parse(some_ledger().serialize());
  EXPECT_EQ(ledger.run().joules.total(), 2 * 117);
  EXPECT_EQ(ledger.run().seconds, 4);
  ASSERT_EQ(ledger.devices().size(), 1u);
  EXPECT_EQ(ledger.devices()[0].joules, 214);
}

TEST(EnergyLedger, KeepsDevicesOfTwoHostsApart) {
  EnergyLedger ledger;
  for (const char* host : {"n1", "n2"}) {
    DeviceTotal idle = device("cpu:idle", 100);
    idle.host = host;
    EnergyLedger of_host;
    of_host.set_devices({idle});
    ledger += of_host;
  }
  EXPECT_EQ(ledger.devices().size(), 2u);
}

TEST(EnergyLedger, RefusesTextThatIsNoLedger) {
  for (const char* text :
       {"", "{}", "[1]", "{\"phases\": {\"sleep\": {}}}",
        "{\"phases\": {\"data\": {\"joules\": {\"guessed\": 1}, \"seconds\": 1}}}"}) {
    EXPECT_THROW(EnergyLedger::parse(text), Error) << text;
  }
}

TEST(EnergyLedger, RefusesSharesThatAreNone) {
  EnergyLedger ledger;
  EXPECT_THROW(ledger.set_layer_shares(Phase::kForward, {{"a", 0.6}, {"b", 0.6}}), Error);
  EXPECT_THROW(ledger.set_layer_shares(Phase::kForward, {{"a", -0.1}}), Error);
}

TEST(JoulesBySource, NeverCallsNothingAZero) {
  EXPECT_EQ(JoulesBySource().label(), "unavailable");
  EXPECT_THROW(parse_source("guessed"), Error);
}

TEST(RankReadings, ASharedDeviceBelongsToOneRankOfItsHost) {
  EXPECT_THAT(
      assign_devices({{"n1", {"cpu:idle", "cpu:process-1", "gpu:a"}},
                      {"n1", {"cpu:idle", "cpu:process-2", "gpu:a", "gpu:b"}},
                      {"n2", {"cpu:idle", "cpu:process-1"}}}),
      ElementsAre(ElementsAre("cpu:idle", "cpu:process-1", "gpu:a"),
                  ElementsAre("cpu:process-2", "gpu:b"), ElementsAre("cpu:idle", "cpu:process-1")));
}

TEST(RankReadings, ListsOfDevicesSurviveTheExchange) {
  const RankDevices devices{"n1", {"gpu:a", "cpu:\"idle\""}};
  const RankDevices back = parse_rank_devices(serialize(devices));
  EXPECT_EQ(back.host, devices.host);
  EXPECT_EQ(back.devices, devices.devices);
  EXPECT_THROW(parse_rank_devices("{}"), Error);
}

}  // namespace
}  // namespace wattle
