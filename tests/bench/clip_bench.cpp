// What clipping the gradient of ggml's blocks takes beside rounding: one thread, both in turns,
// nanoseconds of CPU time a value, and the median of the ratios of the turns.
#include <algorithm>
#include <cstdio>
#include <ctime>
#include <random>
#include <vector>

#include "formats/gguf/ggml_blocks.h"

namespace wattle {
namespace {

constexpr size_t kValues = 4096 * 2304;

double cpu_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

std::vector<float> normal_values() {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0, 0.02f);
  std::vector<float> values(kValues);
  for (float& value : values) value = normal(random);
  return values;
}

void measure(DType type, int turns) {
  const std::vector<float> values = normal_values();
  std::vector<float> rounded(kValues), gradient = values;
  std::vector<double> rounding, clipping, ratio;
  for (int i = 0; i < turns; ++i) {
    const double begin = cpu_seconds();
    round(type, values, rounded);
    const double middle = cpu_seconds();
    clip(type, values, gradient);
    const double end = cpu_seconds();
    rounding.push_back((middle - begin) * 1e9 / kValues);
    clipping.push_back((end - middle) * 1e9 / kValues);
    ratio.push_back((end - middle) / (middle - begin));
  }
  std::printf("%s: rounding %.2f, clipping %.2f, ratio %.2f\n", name_of(type), median(rounding),
              median(clipping), median(ratio));
}

}  // namespace
}  // namespace wattle

int main() {
  wattle::measure(wattle::DType::kQ4_0, 11);
  wattle::measure(wattle::DType::kQ6_K, 7);
}
