#include "common/text.h"

#include <gmock/gmock.h>

#include "common/error.h"
#include "launch/wattle/text/quantities.h"
#include "launch/wattle/text/table.h"

namespace wattle {
namespace {

TEST(Quantities, ReadsUnits) {
  EXPECT_EQ(parse_watts("2000"), 2000);
  EXPECT_EQ(parse_watts("2000 W"), 2000);
  EXPECT_EQ(parse_watts("1.5kW"), 1500);
  EXPECT_EQ(parse_joules("5kWh"), 18e6);
  EXPECT_EQ(parse_joules("20MJ"), 20e6);
  EXPECT_EQ(parse_duration("90"), 90);
  EXPECT_EQ(parse_duration("2 hours"), 7200);
  EXPECT_EQ(parse_duration("month"), 30 * 86400);
  EXPECT_EQ(parse_budget("5kWh/day").period_seconds, 86400);
  EXPECT_EQ(parse_budget("5kWh").period_seconds, std::nullopt);
  EXPECT_EQ(parse_budget("100J/90s").joules, 100);
}

TEST(Quantities, RefusesWhatIsNone) {
  for (const char* text : {"", "W", "-1W", "nan", "inf", "1e3W", "5 kWh", "1.5.2W", "0x10"}) {
    EXPECT_THROW(parse_watts(text), Error) << text;
  }
  for (const char* text : {"", "soon", "1y", "-1d", "d1"}) {
    EXPECT_THROW(parse_duration(text), Error) << text;
  }
  EXPECT_THROW(parse_budget("5kWh/0s"), Error);
  EXPECT_THROW(parse_budget("5kWh/"), Error);
}

TEST(Quantities, ReadsTimes) {
  EXPECT_EQ(parse_time("1970-01-02T00:00:00Z", 5), 86400);
  EXPECT_EQ(parse_time("+2h", 1000), 8200);
  EXPECT_EQ(parse_time("now+30m", 1000), 2800);
  EXPECT_EQ(parse_time("now", 1000), 1000);
  for (const char* text : {"", "tomorrow", "2h", "+", "now-1h", "2026-13-01T00:00:00Z"}) {
    EXPECT_THROW(parse_time(text, 0), Error) << text;
  }
}

TEST(Quantities, WritesThreeDigits) {
  EXPECT_EQ(watts_text(0), "0 W");
  EXPECT_EQ(watts_text(181.6), "182 W");
  EXPECT_EQ(watts_text(999.7), "1.00 kW");
  EXPECT_EQ(watts_text(12345), "12.3 kW");
  EXPECT_EQ(joules_text(3.6e6), "3.60 MJ");
  EXPECT_EQ(joules_text(999.4), "999 J");
  EXPECT_EQ(duration_text(7), "0:07");
  EXPECT_EQ(duration_text(12015), "3:20:15");
  EXPECT_EQ(duration_text(2 * 86400 + 12015), "2-03:20:15");
  EXPECT_EQ(time_text(86400), "1970-01-02T00:00:00Z");
}

TEST(Table, AlignsByCharacters) {
  Table table({{"NAME"}, {"WATTS", Table::Align::kRight}, {"WHY"}});
  table.add({"bär", "5 W", ""});
  table.add({"longer", "1.25 kW", "a\x1b[31mb"});
  EXPECT_EQ(table.text(),
            "NAME      WATTS  WHY\n"
            "bär         5 W  -\n"
            "longer  1.25 kW  a?[31mb\n");
}

}  // namespace
}  // namespace wattle
