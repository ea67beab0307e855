#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <random>
#include <span>
#include <vector>

namespace wattle {

using Bytes = std::vector<std::byte>;

/// Damages a small valid file in every way that a transfer, a disk or an attacker does, and hands
/// each damaged copy to `use`: cut at each length; each bit flipped; each aligned and unaligned
/// 4 and 8 bytes replaced by the values that overflow lengths and counts; and `random_count` copies
/// with up to 8 of these at once, the same for equal seeds.
class Mutations {
 public:
  using Use = std::function<void(std::span<const std::byte>)>;
  Mutations(Bytes valid, Use use) : valid_(std::move(valid)), use_(std::move(use)) {}

  void all(uint32_t seed, int random_count) {
    truncate();
    flip_bits();
    replace_lengths<uint64_t>();
    replace_lengths<uint32_t>();
    combine(seed, random_count);
  }

 private:
  void truncate() {
    // A copy of its own, so that the address sanitizer sees one byte too many.
    for (size_t size = 0; size <= valid_.size(); ++size) {
      const Bytes cut(valid_.begin(), valid_.begin() + static_cast<ptrdiff_t>(size));
      use_(cut);
    }
  }

  void flip_bits() {
    Bytes copy = valid_;
    for (std::byte& byte : copy) {
      for (int bit = 0; bit < 8; ++bit) {
        byte ^= std::byte(1 << bit);
        use_(copy);
        byte ^= std::byte(1 << bit);
      }
    }
  }

  template <typename T>
  std::vector<T> extremes() const {
    const auto size = static_cast<T>(valid_.size());
    const auto top = static_cast<T>(T{1} << (8 * sizeof(T) - 1));
    return {T{0},
            T{1},
            static_cast<T>(size - 1),
            size,
            static_cast<T>(size + 1),
            static_cast<T>(top - 1),
            top,
            static_cast<T>(T{0} - 32),
            static_cast<T>(T{0} - 1)};
  }

  template <typename T>
  void replace_lengths() {
    for (size_t at = 0; at + sizeof(T) <= valid_.size(); ++at) {
      for (const T value : extremes<T>()) {
        Bytes copy = valid_;
        std::memcpy(copy.data() + at, &value, sizeof(T));
        use_(copy);
      }
    }
  }

  void combine(uint32_t seed, int random_count) {
    std::mt19937 random(seed);
    const std::vector<uint64_t> lengths = extremes<uint64_t>();
    for (int i = 0; i < random_count; ++i) {
      Bytes copy = valid_;
      for (uint32_t changes = 1 + random() % 8; changes > 0; --changes) {
        const size_t at = random() % copy.size();
        const uint64_t length = random() % 2 ? lengths[random() % lengths.size()] : random() % 256;
        const uint32_t kind = random() % 4;
        if (kind == 0) copy[at] ^= std::byte(1 << random() % 8);
        if (kind == 1) copy[at] = std::byte(random() % 256);
        if (kind == 2 && at + 8 <= copy.size()) std::memcpy(copy.data() + at, &length, 8);
        if (kind == 3 && copy.size() > 1) copy.erase(copy.begin() + static_cast<ptrdiff_t>(at));
      }
      use_(copy);
    }
  }

  Bytes valid_;
  Use use_;
};

}  // namespace wattle
