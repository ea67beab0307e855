#pragma once

#include <c10/util/BFloat16.h>

#include <cstdint>
#include <type_traits>

namespace wattle {

/// The type that gradients of type T are summed in.
template <class T>
using SumOf = std::conditional_t<std::is_same_v<T, c10::BFloat16>, float, T>;

/// Elements that a kernel takes at once, so that its sums stay in the innermost cache.
inline constexpr int64_t kChunk = 1024;

/// to[i] = from[i], converted (rounded to nearest even).
template <class To, class From>
void convert_elements(To* __restrict to, const From* __restrict from, int64_t n) {
  for (int64_t i = 0; i < n; ++i) to[i] = static_cast<To>(from[i]);
}

/// sum[i] += term[i].
template <class Sum, class T>
void add_elements(Sum* __restrict sum, const T* __restrict term, int64_t n) {
  for (int64_t i = 0; i < n; ++i) sum[i] += static_cast<Sum>(term[i]);
}

}  // namespace wattle
