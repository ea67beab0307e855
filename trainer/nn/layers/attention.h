#pragma once

#include <optional>

#include "trainer/nn/layers/linear.h"

namespace wattle {

/// Rotary position embedding (Su et al. 2021) in the rotate-half convention of Hugging Face:
/// element i of a head turns with element i + head_width / 2.
struct RotaryTable {
  at::Tensor cosine;  ///< [positions, head_width / 2]
  at::Tensor sine;

  static RotaryTable of(int64_t positions, int64_t head_width, double theta, at::ScalarType dtype);
};

struct AttentionOptions {
  int64_t width = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;  ///< divides heads; each serves heads / kv_heads of them
  bool bias = true;
  double output_deviation = 0.02;  ///< initial, of the projection back into the residual stream
  std::optional<double> rope_theta = {};  ///< rotary positions, or none
  int64_t positions = 0;                  ///< the longest sequence, for rotary positions
};

/// Causal self-attention, [batch, seq, width] to [batch, seq, width]. The rows of qkv.weight are
/// the heads' queries, then the keys, then the values: [(heads + 2 * kv_heads) * head_width,
/// width]. Attention probabilities are never dropped: that needs them stored, and residual dropout
/// serves.
class Attention {
 public:
  Attention(const Scope& scope, const AttentionOptions& options);

  at::Tensor operator()(const at::Tensor& x);

 private:
  Linear qkv_;
  Linear output_;
  int64_t heads_;
  int64_t kv_heads_;
  std::optional<RotaryTable> rotary_;
};

/// What computes attention: LibTorch's flash attention for the CPU where qkv is there, else what
/// LibTorch chooses for the device; or always the latter.
enum class AttentionKernel { kOfDevice, kByDispatch };

/// softmax(q k^T / sqrt(head_width) + causal mask) v of qkv [batch, seq, (heads + 2 * kv_heads) *
/// head_width], to [batch, seq, heads * head_width]. With a table, q and k are rotated first, in
/// place: qkv must be nobody else's.
at::Tensor causal_attention(at::Tensor qkv, int64_t heads, int64_t kv_heads,
                            const RotaryTable* rotary,
                            AttentionKernel kernel = AttentionKernel::kOfDevice);

}  // namespace wattle
