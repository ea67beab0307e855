#include "common/report/report.h"

#include <gmock/gmock.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "common/error.h"
#include "common/report/chart.h"

namespace wattle {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using Json = nlohmann::ordered_json;

TEST(AxisTicks, AreRoundAndInside) {
  EXPECT_THAT(axis_ticks(0, 1, 5), ElementsAre(0, 0.2, testing::DoubleNear(0.4, 1e-12),
                                               testing::DoubleNear(0.6, 1e-12), 0.8, 1.0));
  for (double high : {1e-6, 0.3, 7.0, 1234.5, 9e9}) {
    const auto ticks = axis_ticks(0, high, 5);
    EXPECT_GE(ticks.size(), 2u) << high;
    EXPECT_LE(ticks.back(), high);
  }
}

TEST(LineChart, AValueThatIsNotFiniteBreaksTheLine) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::string svg = line_chart({{"loss", {{1, 1}, {2, nan}, {3, 2}}, false}}, "step", "loss");
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
  const auto path = svg.substr(svg.find("<path"));
  EXPECT_EQ(std::count(path.begin(), path.end(), 'M'), 2);
}

TEST(LineChart, KeepsTheSpikesOfALongSeries) {
  Series spike{"watts", {}, false};
  for (int i = 0; i < 100000; ++i) spike.points.emplace_back(i, i == 54321 ? 100.0 : 1.0);
  const std::string svg = line_chart({spike}, "s", "W");
  EXPECT_LT(svg.size(), 40000u);
  EXPECT_THAT(svg, HasSubstr(" 12.0")) << "the highest point lies on the upper edge";
}

TEST(Report, WritesBothFilesAndEscapesWhatPeopleWrote) {
  const std::string folder = testing::TempDir();
  write_report(folder, Json{{"name", "a<b>"},
                            {"summary", {{{"label", "loss"}, {"value", "1.2"}}}},
                            {"tables",
                             {{{"title", "joules"},
                               {"columns", {"phase", "J", "share"}},
                               {"rows", {{"forward", 12.5, 0.5}}}}}},
                            {"texts", {{{"title", "sample"}, {"text", "<script>"}}}}});
  std::ifstream html(folder + "/report.html");
  const std::string page((std::istreambuf_iterator<char>(html)), {});
  EXPECT_THAT(page, HasSubstr("a&lt;b&gt;"));
  EXPECT_THAT(page, HasSubstr("&lt;script&gt;"));
  EXPECT_THAT(page, Not(HasSubstr("<script>")));
  EXPECT_THAT(page, HasSubstr("width:50.0%"));
  std::ifstream json(folder + "/report.json");
  EXPECT_EQ(Json::parse(json).at("name"), "a<b>");
}

TEST(Report, HeadersStandAsTheirColumns) {
  const std::string page =
      report_html(Json{{"tables",
                        {{{"title", "t"},
                          {"columns", {"name", "size", "gained", "format", "hash", "none"}},
                          {"rows",
                           {{"a", "1.5\u00a0kB", "+0.1000", "int8", "3e8f", nullptr},
                            {"b", 12, nullptr, "12", "~1.2e-3\u00a0µJ", nullptr}}}}}}});
  for (const char* text : {"name", "format", "hash", "none"}) {
    EXPECT_THAT(page, HasSubstr(std::string("<th class=''>") + text + "</th>"));
  }
  for (const char* figures : {"size", "gained"}) {
    EXPECT_THAT(page, HasSubstr(std::string("<th class='number'>") + figures + "</th>"));
  }
  EXPECT_THAT(page, HasSubstr("<td class='number'>1.5\u00a0kB</td>"));
}

TEST(Report, AFolderThatIsNotThereIsAnError) {
  EXPECT_THROW(write_report("/no/such/folder", Json::object()), Error);
}

}  // namespace
}  // namespace wattle
