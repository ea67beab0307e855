#include <gmock/gmock.h>
#include <zlib.h>

#include <algorithm>
#include <cmath>

#include "common/error.h"
#include "tests/support/scratch_folder.h"
#include "trainer/data/rows/random_dataset.h"
#include "trainer/data/rows/row_dataset.h"

namespace wattle {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using Kind = DataOptions::Kind;
using Targets = DataOptions::Targets;

constexpr int64_t kEveryone = int64_t{1} << 40;

std::vector<int64_t> all_of(const Dataset& data) {
  std::vector<int64_t> indices;
  for (int64_t i = 0; i < data.size(); ++i) indices.push_back(i);
  return indices;
}

std::vector<float> floats(const at::Tensor& tensor) {
  const float* data = tensor.const_data_ptr<float>();
  return {data, data + tensor.numel()};
}

class Rows : public testing::Test {
 protected:
  DataOptions csv(const std::string& text) {
    folder_.put("table.csv", text);
    DataOptions options;
    options.kind = Kind::kCsv;
    options.path = folder_.path("table.csv");
    options.validation = "0";
    options.standardise = false;
    return options;
  }
  /// `rows` images whose every pixel is 16 and whose label is the row modulo 10.
  DataOptions digits(int rows) {
    std::string text;
    for (int row = 0; row < rows; ++row) {
      for (int pixel = 0; pixel < 64; ++pixel) text += "16,";
      text += std::to_string(row % 10) + "\n";
    }
    gzFile file = gzopen(folder_.path("digits.csv.gz").c_str(), "wb");
    gzwrite(file, text.data(), static_cast<unsigned>(text.size()));
    gzclose(file);
    DataOptions options;
    options.kind = Kind::kDigits;
    options.path = folder_.path("digits.csv.gz");
    return options;
  }
  static Batch train(const DataOptions& options) {
    const RowDatasets rows = read_rows(options, kEveryone);
    return rows.train.fetch(all_of(rows.train));
  }
  static std::string refusal(const DataOptions& options) {
    try {
      read_rows(options, kEveryone);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }

  ScratchFolder folder_;
};

TEST_F(Rows, OfATableHaveItsLastColumnAsTarget) {
  DataOptions options = csv("1,2,0\n1,2,0\n");
  options.header = false;
  const Batch batch = train(options);
  EXPECT_THAT(floats(batch.inputs), ElementsAre(1, 2, 1, 2));
  EXPECT_THAT(floats(batch.targets), ElementsAre(0, 0));
}

TEST_F(Rows, TakeTheTargetFromAnyColumn) {
  DataOptions options = csv("height, \"label\" ,width\n3,1,-4.5\n");
  for (const char* target : {"label", "1", "-2"}) {
    options.target = target;
    const Batch batch = train(options);
    EXPECT_THAT(floats(batch.inputs), ElementsAre(3, -4.5)) << target;
    EXPECT_THAT(floats(batch.targets), ElementsAre(1)) << target;
  }
  options.target = "weight";
  EXPECT_THAT(refusal(options), HasSubstr("table.csv has no column 'weight'; expected a name or an "
                                          "index in [-3, 3)"));
}

TEST_F(Rows, SkipAHeaderOfCounts) {
  DataOptions options = csv("2,3,malignant,benign,x\n1,2,0\n1,2,0\n");
  EXPECT_EQ(train(options).inputs.size(0), 2);
}

TEST_F(Rows, NameTheirMistakesByLineAndColumn) {
  EXPECT_THAT(refusal(csv("a,b,c\n1,2,0\n\n1,x,0\n")),
              HasSubstr("table.csv:4: column 2: expected a number, got 'x'"));
  EXPECT_THAT(refusal(csv("a,b,c\n1,2,0\n1,2\n")),
              HasSubstr("table.csv:3: expected 3 columns, got 2"));
  EXPECT_THAT(refusal(csv("a,b,c\n")), HasSubstr("expected rows, got none"));
  EXPECT_THAT(refusal(csv("a,b,c\n1,2,1\n\n1,2,2\n")),
              HasSubstr("table.csv:4: expected the target to be 0 or 1, got 2"));
}

TEST_F(Rows, HoldFiniteNumbers) {
  for (const char* cell : {"nan", "-NaN", "inf", "-infinity", "1e999"}) {
    EXPECT_THAT(
        refusal(csv(std::string("a,b,c\n1,2,0\n1,") + cell + ",0\n")),
        HasSubstr(std::string("table.csv:3: column 2: expected a finite float32 number, got '") +
                  cell + "'"));
  }
}

TEST_F(Rows, OfClassesCountThemExactly) {
  for (const char* label : {"1e30", "-1", "0.5", "16777216"}) {
    DataOptions options = csv(std::string("a,b\n7,0\n\n7,") + label + "\n");
    options.targets = Targets::kClasses;
    EXPECT_THAT(refusal(options),
                HasSubstr("table.csv:4: expected the target to be a class, an integer in [0, "
                          "16777216), got "))
        << label;
  }
}

TEST_F(Rows, SkipAByteOrderMark) {
  DataOptions options = csv("\xEF\xBB\xBFlabel,width\n1,5\n");
  options.target = "label";
  EXPECT_THAT(floats(train(options).targets), ElementsAre(1));
  options =
      csv("\xEF\xBB\xBF"
          "3,1\n");
  options.header = false;
  EXPECT_THAT(floats(train(options).inputs), ElementsAre(3));
}

TEST_F(Rows, HaveTargetsOfTheKindAskedFor) {
  DataOptions options = csv("a,b\n7,0\n7,2\n");
  options.targets = Targets::kClasses;
  EXPECT_EQ(train(options).targets.scalar_type(), at::kLong);
  EXPECT_EQ(read_rows(options, kEveryone).train.shape().classes, 3);
  options.targets = Targets::kNumbers;
  EXPECT_EQ(train(options).targets.scalar_type(), at::kFloat);
  EXPECT_EQ(read_rows(options, kEveryone).train.shape().classes, 0);
}

TEST_F(Rows, AreStandardisedByTheTrainingRowsAlone) {
  std::string text = "a,constant,target\n";
  for (int row = 0; row < 50; ++row) text += std::to_string(row * row) + ",5,1\n";
  DataOptions options = csv(text);
  options.standardise = true;
  options.validation = "10";
  const RowDatasets rows = read_rows(options, kEveryone);
  const std::vector<float> inputs = floats(rows.train.fetch(all_of(rows.train)).inputs);
  double sum = 0, squares = 0;
  for (size_t i = 0; i < inputs.size(); i += 2) {
    sum += inputs[i];
    squares += inputs[i] * inputs[i];
    EXPECT_EQ(inputs[i + 1], 0) << "a constant is only shifted";
  }
  EXPECT_NEAR(sum / 40, 0, 1e-6);
  EXPECT_NEAR(squares / 40, 1, 1e-6);
}

TEST_F(Rows, OfDigitsAreImagesWithClasses) {
  const RowDatasets rows = read_rows(digits(40), kEveryone);
  EXPECT_EQ(rows.train.size(), 36);
  EXPECT_EQ(rows.validation.size(), 4);
  EXPECT_EQ(rows.train.shape().classes, 10);
  const Batch batch = rows.train.fetch(all_of(rows.train));
  EXPECT_EQ(batch.inputs.sizes(), (at::IntArrayRef{36, 1, 8, 8}));
  EXPECT_EQ(batch.targets.scalar_type(), at::kLong);
  EXPECT_THAT(floats(batch.inputs), testing::Each(1.0f));
}

TEST_F(Rows, SayThatACompressedFileIsDamaged) {
  const DataOptions options = digits(40);
  const std::string content = folder_.content("digits.csv.gz");
  folder_.put("digits.csv.gz", content.substr(0, content.size() - 9));
  EXPECT_THAT(refusal(options), HasSubstr("digits.csv.gz: can't be decompressed past byte "));
}

TEST_F(Rows, OfFoldsAreDisjointAndCoverAll) {
  DataOptions options;
  options.kind = Kind::kDigits;
  for (const int64_t rows : {10, 17, 1797}) {
    for (const int64_t folds : {2, 5, 10}) {
      std::vector<int64_t> evaluated;
      options.folds = folds;
      for (options.fold = 0; options.fold < folds; ++options.fold) {
        const RowSplit split = RowSplit::of(options, rows);
        ASSERT_EQ(static_cast<int64_t>(split.train.size() + split.validation.size()), rows);
        for (const int64_t row : split.validation) {
          ASSERT_EQ(std::count(split.train.begin(), split.train.end(), row), 0);
        }
        evaluated.insert(evaluated.end(), split.validation.begin(), split.validation.end());
      }
      std::sort(evaluated.begin(), evaluated.end());
      for (int64_t row = 0; row < rows; ++row) ASSERT_EQ(evaluated[row], row);
    }
  }
}

TEST_F(Rows, FillEveryFold) {
  DataOptions options = csv("a,b\n1,0\n2,1\n3,0\n");
  options.validation.reset();
  options.folds = 4;
  EXPECT_THAT(refusal(options), HasSubstr("data.folds: 4, but there are only 3 rows"));
  options.folds = 3;
  EXPECT_EQ(refusal(options), "");
}

TEST_F(Rows, OfASplitFollowTheDataSeedAndKeepTheirPlaceWhenFewerTrain) {
  DataOptions options;
  options.kind = Kind::kDigits;
  options.validation = "0.25";
  const RowSplit split = RowSplit::of(options, 100);
  EXPECT_EQ(split.validation.size(), 25u);
  options.samples = 10;
  EXPECT_EQ(RowSplit::of(options, 100).validation, split.validation);
  EXPECT_EQ(RowSplit::of(options, 100).train.size(), 10u);
  options.seed = 2;
  EXPECT_NE(RowSplit::of(options, 100).validation, split.validation);
  options.validation = "100";
  EXPECT_THROW(RowSplit::of(options, 100), Error);
}

TEST(RandomDataset, IsAFunctionOfSeedAndNumber) {
  const RandomDataset data(1, 0, 100, 20, RandomDataset::Targets::kUniform);
  const RandomDataset shifted(1, 40, 60, 20, RandomDataset::Targets::kUniform);
  const RandomDataset other(2, 0, 100, 20, RandomDataset::Targets::kUniform);
  const std::vector<int64_t> at = {45}, same = {5};
  EXPECT_TRUE(data.fetch(at).inputs.equal(shifted.fetch(same).inputs));
  EXPECT_TRUE(data.fetch(at).targets.equal(shifted.fetch(same).targets));
  EXPECT_FALSE(data.fetch(at).inputs.equal(other.fetch(at).inputs));
  EXPECT_FALSE(data.fetch(at).inputs.equal(data.fetch(same).inputs));
}

TEST(RandomDataset, IsUniformWithFairCoins) {
  const RandomDataset data(1, 0, 20000, 2, RandomDataset::Targets::kBinary);
  const Batch batch = data.fetch(all_of(data));
  double sum = 0, squares = 0, product = 0, ones = 0;
  const std::vector<float> inputs = floats(batch.inputs), targets = floats(batch.targets);
  for (size_t i = 0; i < targets.size(); ++i) {
    const float a = inputs[2 * i] - 0.5f, b = inputs[2 * i + 1] - 0.5f;
    ASSERT_TRUE(std::abs(a) <= 0.5f && inputs[2 * i] < 1);
    ASSERT_TRUE(targets[i] == 0 || targets[i] == 1);
    sum += a + b;
    squares += a * a + b * b;
    product += a * b;
    ones += targets[i];
  }
  EXPECT_NEAR(sum / 40000, 0, 5 * std::sqrt(1.0 / 12 / 40000));
  EXPECT_NEAR(squares / 40000, 1.0 / 12, 0.002);
  EXPECT_NEAR(product / 20000, 0, 5.0 / 12 / std::sqrt(20000));
  EXPECT_NEAR(ones / 20000, 0.5, 5 * 0.5 / std::sqrt(20000));
}

}  // namespace
}  // namespace wattle
