#include "formats/gguf/ggml_blocks.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "common/error.h"
#include "formats/half.h"

namespace wattle {
namespace {

using testing::HasSubstr;
using Bytes = std::vector<std::byte>;
using Floats = std::vector<float>;

constexpr size_t kBlock = 32;

Bytes encoded(DType dtype, const Floats& values) {
  const DTypeTraits& traits = traits_of(dtype);
  Bytes bytes(values.size() / traits.block_elements * traits.block_bytes);
  encode(dtype, values, bytes);
  return bytes;
}

Floats decoded(DType dtype, const Bytes& bytes) {
  const DTypeTraits& traits = traits_of(dtype);
  Floats values(bytes.size() / traits.block_bytes * traits.block_elements);
  decode(dtype, bytes, values);
  return values;
}

/// ggml's reference in its plainest form: one block, one element after the other.
class PlainCoder {
 public:
  explicit PlainCoder(const float* x) : x_(x) {}

  Bytes q4_0() {
    float extreme = 0.0f;
    for (size_t j = 0; j < kBlock; ++j) {
      if (std::fabs(extreme) < std::fabs(x_[j])) extreme = x_[j];
    }
    const float d = extreme / -8;
    put_half(d);
    put_nibbles(0.0f, d, 8.5f);
    return bytes_;
  }

  Bytes q4_1() {
    float low = FLT_MAX;
    float high = -FLT_MAX;
    for (size_t j = 0; j < kBlock; ++j) {
      if (x_[j] < low) low = x_[j];
      if (x_[j] > high) high = x_[j];
    }
    const float d = (high - low) / 15;
    put_half(d);
    put_half(low);
    put_nibbles(low, d, 0.5f);
    return bytes_;
  }

  Bytes q8_0() {
    float largest = 0.0f;
    for (size_t j = 0; j < kBlock; ++j) largest = std::max(largest, std::fabs(x_[j]));
    const float d = largest / 127;
    const float id = d != 0 ? 1 / d : 0;
    put_half(d);
    for (size_t j = 0; j < kBlock; ++j) {
      const volatile float scaled = x_[j] * id;
      bytes_.push_back(static_cast<std::byte>(static_cast<int8_t>(std::round(scaled))));
    }
    return bytes_;
  }

 private:
  void put_half(float value) {
    const uint16_t half = f16_from_float(value);
    bytes_.push_back(static_cast<std::byte>(half & 0xff));
    bytes_.push_back(static_cast<std::byte>(half >> 8));
  }
  void put_nibbles(float low, float d, float offset) {
    const float id = d != 0 ? 1 / d : 0;
    const auto code = [&](float x) {
      const volatile float scaled = (x - low) * id;  // keeps the two roundings apart
      return std::min(15, static_cast<int>(static_cast<int8_t>(scaled + offset)));
    };
    for (size_t j = 0; j < kBlock / 2; ++j) {
      bytes_.push_back(static_cast<std::byte>(code(x_[j]) | code(x_[j + kBlock / 2]) << 4));
    }
  }

  const float* x_;
  Bytes bytes_;
};

Bytes plainly_encoded(DType dtype, const Floats& values) {
  Bytes all;
  for (size_t i = 0; i < values.size(); i += kBlock) {
    PlainCoder coder(values.data() + i);
    const Bytes block = dtype == DType::kQ4_0   ? coder.q4_0()
                        : dtype == DType::kQ4_1 ? coder.q4_1()
                                                : coder.q8_0();
    all.insert(all.end(), block.begin(), block.end());
  }
  return all;
}

/// Blocks as weights have them, and blocks that reach the corners of the rounding rules: few
/// distinct values, hence ties of magnitude; values a hair from the middle between two codes of
/// each format; zeros of both signs; one sign only.
Floats varied_blocks(size_t blocks, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  Floats values;
  for (size_t block = 0; block < blocks; ++block) {
    const float scale = std::ldexp(1.0f, static_cast<int>(random() % 24) - 18);
    const uint32_t shape = random() % 6;
    const int codes = std::array{16, 30, 254}[random() % 3];
    const float extreme = normal(random);
    for (size_t j = 0; j < kBlock; ++j) {
      const float steps = static_cast<float>(static_cast<int>(random() % 17) - 8);
      float value = normal(random);
      if (shape == 1) value = steps;
      if (shape == 2) value = std::fabs(steps) / 2;
      if (shape == 3) value = random() % 2 ? 0.0f : -0.0f;
      if (shape == 4) value = random() % 4 ? std::fabs(value) : (random() % 2 ? 0.0f : -0.0f);
      if (shape == 5) {
        const int odd = static_cast<int>(random() % static_cast<uint32_t>(codes)) | 1;
        value = j == 7 ? extreme : extreme * static_cast<float>(odd) / static_cast<float>(codes);
      }
      values.push_back(value * scale);
    }
  }
  return values;
}

class BlockCodec : public testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(Ggml, BlockCodec,
                         testing::Values(DType::kQ4_0, DType::kQ4_1, DType::kQ8_0),
                         [](const auto& info) { return std::string(name_of(info.param)); });

TEST_P(BlockCodec, EncodesAsTheReferenceDoes) {
  const Floats values = varied_blocks(20000, 1);
  EXPECT_EQ(encoded(GetParam(), values), plainly_encoded(GetParam(), values));
}

TEST_P(BlockCodec, EncodesItsOwnDecodedValuesToTheSameBits) {
  std::mt19937 random(2);
  std::normal_distribution<float> normal(0.0f, 0.05f);
  Floats values(kBlock * 20000);
  for (float& value : values) value = normal(random);
  const Bytes once = encoded(GetParam(), values);
  const Bytes twice = encoded(GetParam(), decoded(GetParam(), once));
  EXPECT_EQ(once, twice);
}

TEST_P(BlockCodec, DecodesWithinHalfAStep) {
  const Floats values = varied_blocks(2000, 3);
  const Floats back = decoded(GetParam(), encoded(GetParam(), values));
  const float steps = GetParam() == DType::kQ8_0 ? 254.0f : 15.0f;
  for (size_t i = 0; i < values.size(); i += kBlock) {
    const auto [low, high] = std::minmax_element(values.begin() + i, values.begin() + i + kBlock);
    // Q4_0 has no code for +8 steps: the far end may be a whole step away. 2^-18: scales that are
    // subnormal in f16.
    const float largest = std::max(std::fabs(*low), std::fabs(*high));
    const float step = GetParam() == DType::kQ4_1 ? (*high - *low) / steps : 2 * largest / steps;
    const float bound = (GetParam() == DType::kQ4_0 ? 1.01f : 0.51f) * step + largest * 0x1p-10f;
    for (size_t j = i; j < i + kBlock; ++j) {
      ASSERT_NEAR(back[j], values[j], bound + 0x1p-18f) << "element " << j;
    }
  }
}

TEST_P(BlockCodec, RefusesWhatHasNoEncoding) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -std::nanf(""),
                          std::numeric_limits<float>::infinity(), -INFINITY, 3e38f, -3e38f}) {
    Floats values(3 * kBlock, 1.0f);
    values[kBlock + 7] = bad;
    try {
      encoded(GetParam(), values);
      FAIL() << bad << " was encoded";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kNonFinite);
      EXPECT_THAT(error.what(), HasSubstr("elements 32 to 63"));
    }
  }
}

TEST_P(BlockCodec, EncodesVanishingValuesAsZeros) {
  const Floats back = decoded(GetParam(), encoded(GetParam(), Floats(kBlock, 1e-42f)));
  for (const float value : back) EXPECT_EQ(value, 0.0f);
}

TEST_P(BlockCodec, ReadsAndWritesAtAnyAlignment) {
  const Floats values = varied_blocks(4, 4);
  const Bytes expected = encoded(GetParam(), values);
  Bytes shifted(expected.size() + 1);
  encode(GetParam(), values, std::span(shifted).subspan(1));
  EXPECT_EQ(Bytes(shifted.begin() + 1, shifted.end()), expected);
  Floats back(values.size());
  decode(GetParam(), std::span<const std::byte>(shifted).subspan(1), back);
  EXPECT_EQ(back, decoded(GetParam(), expected));
}

/// Elements j, j + 32, j + 64 and j + 96 of each half of a block lie in one byte, the scale at the
/// end.
TEST(TernaryBlocks, RoundByTheLargestMagnitudeAndLieAsInGgml) {
  Floats values = varied_blocks(8 * 3000, 5);
  values[100] = 0.5f * *std::ranges::max_element(std::span(values).first(256), {},
                                                 [](float x) { return std::fabs(x); });
  const Bytes bytes = encoded(DType::kTQ2_0, values);
  const Floats back = decoded(DType::kTQ2_0, bytes);
  ASSERT_EQ(bytes.size(), values.size() / 256 * 66);
  for (size_t block = 0; block < values.size() / 256; ++block) {
    const float* x = values.data() + block * 256;
    float d = 0;
    for (size_t j = 0; j < 256; ++j) d = std::max(d, std::fabs(x[j]));
    const float id = d != 0 ? 1 / d : 0;
    const std::byte* stored = bytes.data() + block * 66;
    uint16_t half = 0;
    std::memcpy(&half, stored + 64, 2);
    ASSERT_EQ(half, f16_from_float(d));
    for (size_t j = 0; j < 256; ++j) {
      const int code = static_cast<int>(std::lround(x[j] * id));
      const auto byte = std::to_integer<int>(stored[j / 128 * 32 + j % 32]);
      ASSERT_EQ((byte >> (j % 128 / 32 * 2)) & 3, code + 1) << block << " " << j;
      ASSERT_EQ(back[block * 256 + j], static_cast<float>(code) * float_from_f16(half));
    }
  }
  EXPECT_EQ(encoded(DType::kTQ2_0, back), bytes);
}

TEST(TernaryBlocks, RefuseWhatHasNoEncoding) {
  Floats values(512, 1.0f);
  for (const float bad : {std::nanf(""), INFINITY, -3e38f}) {
    values[300] = bad;
    EXPECT_THROW(encoded(DType::kTQ2_0, values), Error) << bad;
  }
}

TEST(BlockCodecs, RefuseSizesThatDoNotAgree) {
  Floats values(kBlock + 1);
  Bytes bytes(18);
  EXPECT_THROW(encode(DType::kQ4_0, values, bytes), Error);
  EXPECT_THROW(decode(DType::kQ4_0, std::span(bytes).first(17), std::span(values).first(kBlock)),
               Error);
}

/// The plain form of clipping: one block, one element after the other.
void clip_by_reference(const float* x, float* gradient) {
  const auto* largest =
      std::max_element(x, x + 32, [](float a, float b) { return std::fabs(a) < std::fabs(b); });
  const float end = -7.5f / 8.0f * *largest;
  for (size_t j = 0; j < 32; ++j) {
    if (end < 0 ? x[j] < end : x[j] > end && end > 0) gradient[j] = 0;
  }
}

TEST(BlockCodecs, ClipQ40AsTheReferenceDoes) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  constexpr size_t kBlocks = 5000;
  std::vector<float> x(kBlocks * 32), clipped(x.size()), expected(x.size());
  for (size_t b = 0; b < kBlocks; ++b) {
    const float scale = std::exp2(static_cast<float>(random() % 160) - 100);
    for (size_t j = 0; j < 32; ++j) {
      const float value = normal(random);
      // Blocks of few different values have the largest magnitude on both sides, or at the edge.
      x[b * 32 + j] = scale * (b % 3 == 0 ? std::rint(value * 4) / 16 : value);
    }
    if (b % 50 == 0) std::fill_n(&x[b * 32], 32, b % 100 == 0 ? 0.0f : -0.0f);
    if (b % 7 == 0) x[b * 32 + b % 32] = -x[b * 32 + (b + 5) % 32];
  }
  for (float& g : expected) g = normal(random);
  clipped = expected;
  const size_t kept = std::ranges::count(expected, 0.0f);
  for (size_t b = 0; b < kBlocks; ++b) clip_by_reference(&x[b * 32], &expected[b * 32]);
  clip(DType::kQ4_0, x, clipped);
  EXPECT_GT(std::ranges::count(expected, 0.0f), kept + 500);
  EXPECT_EQ(std::memcmp(clipped.data(), expected.data(), x.size() * sizeof(float)), 0);
}

TEST(BlockCodecs, ClipOnlyTypesThatCutValuesOff) {
  for (const DType type : {DType::kQ4_1, DType::kQ8_0, DType::kTQ2_0}) EXPECT_FALSE(clips(type));
  std::vector<float> x(32), gradient(32);
  EXPECT_THROW(clip(DType::kQ8_0, x, gradient), Error);
}

TEST(BlockCodecs, NameATypeWithoutCodec) {
  EXPECT_FALSE(has_codec(DType::kQ5_K));
  Floats values(256);
  Bytes bytes(176);
  try {
    decode(DType::kQ5_K, bytes, values);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
    EXPECT_THAT(error.what(), HasSubstr("Q5_K (256 elements in 176 bytes)"));
  }
}

TEST(Half, EveryPatternSurvivesTheWayThroughFloat) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const float wide = float_from_f16(half);
    ASSERT_TRUE(std::isnan(wide) || f16_from_float(wide) == half) << bits;
    const float brain = float_from_bf16(half);
    ASSERT_TRUE(std::isnan(brain) || bf16_from_float(brain) == half) << bits;
  }
}

/// Between two neighbouring halves lies the point where rounding changes; at the point itself the
/// even neighbour wins.
template <typename Narrow, typename Widen>
void expect_nearest_even(Narrow narrow, Widen widen, uint16_t largest_finite) {
  for (uint16_t low = 0; low < largest_finite; ++low) {
    const auto high = static_cast<uint16_t>(low + 1);
    const double exact_middle = (static_cast<double>(widen(low)) + widen(high)) / 2;
    const auto middle = static_cast<float>(exact_middle);
    ASSERT_EQ(middle, exact_middle);
    const uint16_t even = low % 2 == 0 ? low : high;
    ASSERT_EQ(narrow(middle), even) << low;
    ASSERT_EQ(narrow(-middle), even | 0x8000) << low;
    ASSERT_EQ(narrow(std::nextafter(middle, 0.0f)), low) << low;
    ASSERT_EQ(narrow(std::nextafter(middle, INFINITY)), high) << low;
  }
}

TEST(Half, RoundsToNearestEven) {
  expect_nearest_even(f16_from_float, float_from_f16, 0x7bff);
  // Below 2^-126 the middle of two bfloat16 is a float as well.
  expect_nearest_even(bf16_from_float, float_from_bf16, 0x7f7f);
}

TEST(Half, KeepsInfinitiesAndNan) {
  EXPECT_EQ(f16_from_float(65519.0f), 0x7bff);
  EXPECT_EQ(f16_from_float(65520.0f), 0x7c00);
  EXPECT_EQ(f16_from_float(-INFINITY), 0xfc00);
  EXPECT_EQ(bf16_from_float(FLT_MAX), 0x7f80);
  EXPECT_TRUE(std::isinf(float_from_f16(0x7c00)));
  for (const uint32_t bits : {0x7f800001u, 0x7fffffffu, 0xff800001u}) {
    const auto nan = std::bit_cast<float>(bits);
    EXPECT_TRUE(std::isnan(float_from_f16(f16_from_float(nan))));
    EXPECT_TRUE(std::isnan(float_from_bf16(bf16_from_float(nan))));
  }
}

}  // namespace
}  // namespace wattle
