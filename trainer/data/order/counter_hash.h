#pragma once

#include <cstdint>

#include "trainer/nn/kernels/philox.h"

namespace wattle {

/// One step of SplitMix64 (Steele, Lea and Flood 2014): a bijection of 64 bits whose every output
/// bit depends on every input bit.
inline uint64_t mix64(uint64_t x) { return mixed(x + 0x9e3779b97f4a7c15u); }

/// Random bits that are a pure function of a seed and a counter: no state to save or to share.
inline uint64_t counter_hash(uint64_t seed, uint64_t counter) {
  return mix64(mix64(seed) ^ mix64(counter));
}

/// The same for a counter of two parts.
inline uint64_t counter_hash(uint64_t seed, uint64_t high, uint64_t low) {
  return counter_hash(counter_hash(seed, high), low);
}

}  // namespace wattle
