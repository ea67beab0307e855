#include "formats/gguf/q6_k.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <random>

#include "common/error.h"
#include "formats/gguf/ggml_blocks.h"
#include "formats/half.h"

namespace wattle {
namespace {

using testing::HasSubstr;
using Bytes = std::vector<std::byte>;
using Floats = std::vector<float>;

Bytes encoded(const Floats& values) {
  Bytes bytes(values.size() / 256 * 210);
  encode(DType::kQ6_K, values, bytes);
  return bytes;
}

Floats decoded(const Bytes& bytes) {
  Floats values(bytes.size() / 210 * 256);
  decode(DType::kQ6_K, bytes, values);
  return values;
}

/// ggml's reference in its plainest form: one group after the other, one value after the other.
class PlainQ6K {
 public:
  static constexpr size_t kBlock = 256, kGroup = 16;

  explicit PlainQ6K(const float* x) {
    float largest = 0;
    for (size_t g = 0; g < kGroup; ++g) {
      scales_[g] = fit(x + g * kGroup, codes_ + g * kGroup);
      if (std::fabs(scales_[g]) > std::fabs(largest)) largest = scales_[g];
    }
    if (std::fabs(largest) < 1e-15f) {
      for (int& code : codes_) code = 0;
      return;
    }
    const float inverse = -128 / largest;
    scale_ = f16_from_float(1 / inverse);
    for (size_t g = 0; g < kGroup; ++g) {
      eighths_[g] = std::min(127, static_cast<int>(std::nearbyint(inverse * scales_[g])));
      const float step = float_from_f16(scale_) * static_cast<float>(eighths_[g]);
      for (size_t j = g * kGroup; step != 0 && j < (g + 1) * kGroup; ++j) {
        codes_[j] = rounded(x[j] / step) + 32;
      }
    }
  }

  Bytes bytes() const {
    Bytes bytes(210);
    for (size_t i = 0; i < kBlock; ++i) {
      // Of 128 codes the first 64 have the low nibbles of 64 bytes, the others the high ones; 32
      // bytes more hold the upper bits of the four codes that lie 32 apart.
      const size_t half = i / 128, in_half = i % 128;
      put(bytes[64 * half + in_half % 64], codes_[i] & 15, in_half < 64 ? 0 : 4);
      put(bytes[128 + 32 * half + in_half % 32], codes_[i] >> 4, 2 * (in_half / 32));
    }
    for (size_t g = 0; g < kGroup; ++g) bytes[192 + g] = static_cast<std::byte>(eighths_[g]);
    put(bytes[208], scale_ & 0xff, 0);
    put(bytes[209], scale_ >> 8, 0);
    return bytes;
  }

 private:
  static void put(std::byte& byte, int value, size_t shift) {
    byte |= static_cast<std::byte>(value << shift);
  }
  static int rounded(float position) {
    return static_cast<int>(std::clamp(std::nearbyint(position), -32.0f, 31.0f));
  }
  static float fit(const float* x, int* codes) {
    float extreme = 0;
    for (size_t j = 0; j < kGroup; ++j) {
      if (std::fabs(x[j]) > std::fabs(extreme)) extreme = x[j];
    }
    for (size_t j = 0; j < kGroup; ++j) codes[j] = 0;
    if (std::fabs(extreme) < 1e-15f) return 0;
    float scale = 0, best = -1;
    for (const int k : {0, -9, -8, -7, -6, -5, -4, -3, -2, -1, 1, 2, 3, 4, 5, 6, 7, 8, 9}) {
      const float inverse = -(32 + 0.1f * static_cast<float>(k)) / extreme;
      volatile float products = 0, squares = 0;  // each operation rounds
      for (size_t j = 0; j < kGroup; ++j) {
        const auto code = static_cast<float>(rounded(inverse * x[j]));
        const volatile float weight = x[j] * x[j], cube = weight * x[j];
        const volatile float product = cube * code, half_square = weight * code;
        const volatile float square = half_square * code;
        products = products + product;
        squares = squares + square;
      }
      const volatile float explained = products * products, other = best * squares;
      if (k != 0 && !(squares > 0 && explained > other)) continue;
      scale = squares != 0 ? products / squares : 0;
      best = scale * products;
      for (size_t j = 0; j < kGroup; ++j) codes[j] = rounded(inverse * x[j]) + 32;
    }
    return scale;
  }

  float scales_[kGroup] = {};
  int eighths_[kGroup] = {};
  int codes_[kBlock] = {};
  uint16_t scale_ = 0;
};

/// Blocks as weights have them, few distinct values (ties), none but zeros; groups of a block that
/// differ in size by a little, and by so much that the scales of some vanish.
Floats varied_blocks(size_t blocks) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  Floats values;
  for (size_t block = 0; block < blocks; ++block) {
    const int spread = std::array{1, 3, 20, 60, 120}[random() % 5];
    const uint32_t shape = random() % 4;
    const float scale = std::ldexp(1.0f, static_cast<int>(random() % 24) - 18);
    for (size_t group = 0; group < 16; ++group) {
      const float factor =
          random() % 8 ? std::ldexp(scale, -static_cast<int>(random() % spread)) : 0.0f;
      for (size_t j = 0; j < 16; ++j) {
        const float steps = static_cast<float>(static_cast<int>(random() % 17) - 8);
        const float value = normal(random);
        values.push_back(factor * std::array{value, steps, std::fabs(steps), -0.0f}[shape]);
      }
    }
  }
  return values;
}

TEST(Q6K, EncodesAsTheReferenceDoes) {
  const Floats values = varied_blocks(4000);
  Bytes expected;
  for (size_t i = 0; i < values.size(); i += PlainQ6K::kBlock) {
    const Bytes block = PlainQ6K(values.data() + i).bytes();
    expected.insert(expected.end(), block.begin(), block.end());
  }
  const Bytes actual = encoded(values);
  for (size_t i = 0; i < actual.size(); ++i) {
    ASSERT_EQ(actual[i], expected[i]) << "byte " << i % 210 << " of block " << i / 210;
  }
}

TEST(Q6K, DecodesToSumsOfItsParts) {
  Bytes block(210);
  block[208] = std::byte{0x00};
  block[209] = std::byte{0x38};  // 0.5
  block[192 + 9] = static_cast<std::byte>(-3);
  block[64 + 20] = std::byte{0x70};        // value 128 + 64 + 20: low bits 7
  block[128 + 32 + 20] = std::byte{0x20};  // and high bits 2
  block[192 + 13] = std::byte{5};
  const Floats values = decoded(block);
  EXPECT_EQ(values[128 + 64 + 20], 0.5f * 5 * (7 + 32 - 32));
  EXPECT_EQ(values[144], 0.5f * -3 * -32);
  EXPECT_EQ(values[0], 0.0f);
}

TEST(Q6K, ClipsWhereTheEncodedCodesEnd) {
  const Floats values = varied_blocks(4000);
  const Bytes bytes = encoded(values);
  Floats gradient(values.size()), expected(values.size());
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  for (float& g : gradient) g = normal(random);
  expected = gradient;
  for (size_t i = 0; i < values.size(); ++i) {
    const std::byte* block = &bytes[i / 256 * 210];
    uint16_t half = 0;
    std::memcpy(&half, block + 208, sizeof(half));
    const auto scale = static_cast<float>(std::to_integer<int8_t>(block[192 + i % 256 / 16]));
    const float step = float_from_f16(half) * scale;
    const float position = step == 0 ? 0 : values[i] / step;
    if (position < -32.5f || position > 31.5f) expected[i] = 0;
  }
  clip(DType::kQ6_K, values, gradient);
  EXPECT_GT(std::ranges::count(expected, 0.0f), 1000);
  EXPECT_EQ(std::memcmp(gradient.data(), expected.data(), values.size() * sizeof(float)), 0);
}

TEST(Q6K, RefusesWhatHasNoEncoding) {
  for (const float bad : {std::nanf(""), INFINITY, -INFINITY, 1e20f, 3e8f}) {
    Floats values(3 * 256, 1.0f);
    values[256 + 77] = bad;
    try {
      encoded(values);
      FAIL() << bad << " was encoded";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kNonFinite);
      EXPECT_THAT(error.what(), HasSubstr("elements 256 to 511"));
    }
  }
}

}  // namespace
}  // namespace wattle
