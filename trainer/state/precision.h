#pragma once

namespace wattle {

/// What the forward pass computes in. The master is float32 for fp32 and bf16, float64 for fp64.
enum class Precision { kFp32, kBf16, kFp64 };

}  // namespace wattle
