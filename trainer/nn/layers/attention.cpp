#include "trainer/nn/layers/attention.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu_backward.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/outer.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <c10/core/GradMode.h>

#include "trainer/nn/autograd.h"
#include "trainer/nn/kernels/elementwise.h"
#include "trainer/nn/kernels/parallel_rows.h"

namespace wattle {
namespace {

/// A row of qkv: `heads` queries, then keys, then values of `kv_heads`, each `head_width` wide.
struct QkvShape {
  int64_t heads, kv_heads, head_width;

  static QkvShape of(const at::Tensor& qkv, int64_t heads, int64_t kv_heads) {
    return {heads, kv_heads, qkv.size(-1) / (heads + 2 * kv_heads)};
  }
  int64_t group() const { return heads / kv_heads; }

  /// Views [batch, heads, seq, head_width].
  at::Tensor q(const at::Tensor& t) const { return part(t, 0, heads); }
  at::Tensor k(const at::Tensor& t) const { return part(t, heads, kv_heads); }
  at::Tensor v(const at::Tensor& t) const { return part(t, heads + kv_heads, kv_heads); }

  at::Tensor part(const at::Tensor& t, int64_t first, int64_t count) const {
    return t.view({t.size(0), t.size(1), -1, head_width}).narrow(2, first, count).transpose(1, 2);
  }

  /// Keys or values once for each query head that they serve.
  at::Tensor spread(const at::Tensor& t) const {
    return group() == 1 ? t : t.repeat_interleave(group(), 1);
  }
  /// The other way round for gradients: the sum over those heads.
  at::Tensor gathered(const at::Tensor& t) const {
    if (group() == 1) return t;
    return t.reshape({t.size(0), kv_heads, group(), t.size(2), t.size(3)}).sum(2);
  }
};

/// Turns t [batch, heads, seq, head_width] in place; backwards with sign -1.
void rotate_by_tensors(at::Tensor t, const RotaryTable& table, double sign) {
  const int64_t half = t.size(3) / 2, seq = t.size(2);
  at::Tensor first = t.narrow(3, 0, half), second = t.narrow(3, half, half);
  const at::Tensor cosine = table.cosine.narrow(0, 0, seq).to(t.device());
  const at::Tensor sine = table.sine.narrow(0, 0, seq).to(t.device()) * sign;
  const at::Tensor turned = first * cosine - second * sine;
  second.copy_(second * cosine + first * sine);
  first.copy_(turned);
}

/// Turns queries and keys of qkv [batch, seq, ...] in place.
void rotate(const at::Tensor& qkv, const QkvShape& shape, const RotaryTable& table, float sign) {
  if (!fits_kernels(qkv, table.cosine)) {
    rotate_by_tensors(shape.q(qkv), table, sign);
    rotate_by_tensors(shape.k(qkv), table, sign);
    return;
  }
  const int64_t seq = qkv.size(1), width = qkv.size(2), half = shape.head_width / 2;
  float* values = qkv.mutable_data_ptr<float>();
  const float *cosine = table.cosine.const_data_ptr<float>(),
              *sine = table.sine.const_data_ptr<float>();
  each_row(qkv.size(0) * seq, width, [&](int64_t row) {
    const int64_t angle = row % seq * half;
    for (int64_t head = 0; head < shape.heads + shape.kv_heads; ++head) {
      float* first = values + row * width + head * shape.head_width;
      rotate_pairs(first, first + half, cosine + angle, sine + angle, sign, half);
    }
  });
}

}  // namespace

RotaryTable RotaryTable::of(int64_t positions, int64_t head_width, double theta,
                            at::ScalarType dtype) {
  const auto wide = at::TensorOptions(at::kDouble);
  const at::Tensor frequency =
      at::pow(theta, at::arange(0, head_width, 2, wide) * (-1.0 / static_cast<double>(head_width)));
  const at::Tensor angle = at::outer(at::arange(positions, wide), frequency);
  const at::ScalarType type = dtype == at::kDouble ? at::kDouble : at::kFloat;
  return {angle.cos().to(type), angle.sin().to(type)};
}

namespace {

/// What attention made of qkv, and the way back from its gradient to that of qkv.
struct Attended {
  at::Tensor y;
  std::function<at::Tensor(const at::Tensor& dy)> gradient;
};

Attended attend_on_cpu(const at::Tensor& qkv, const QkvShape& shape) {
  const auto [out, logsumexp] = at::_scaled_dot_product_flash_attention_for_cpu(
      shape.q(qkv), shape.spread(shape.k(qkv)), shape.spread(shape.v(qkv)), 0.0, true);
  const at::Tensor y = out.transpose(1, 2).reshape({qkv.size(0), qkv.size(1), -1});
  return {y, [qkv, shape, out = out, lse = logsumexp](const at::Tensor& dy) {
            const auto [dq, dk, dv] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
                shape.part(dy.contiguous(), 0, shape.heads), shape.q(qkv),
                shape.spread(shape.k(qkv)), shape.spread(shape.v(qkv)), out, lse, 0.0, true);
            at::Tensor dqkv = at::empty_like(qkv);
            shape.q(dqkv).copy_(dq);
            shape.k(dqkv).copy_(shape.gathered(dk));
            shape.v(dqkv).copy_(shape.gathered(dv));
            return dqkv;
          }};
}

/// By a graph of its own from a leaf that stands for qkv, which backward then runs.
Attended attend_by_graph(const at::Tensor& qkv, const QkvShape& shape, bool records) {
  at::AutoGradMode grad(records);
  const at::Tensor leaf = values_of(qkv).requires_grad_(records);
  const at::Tensor out = at::scaled_dot_product_attention(
      shape.q(leaf), shape.spread(shape.k(leaf)), shape.spread(shape.v(leaf)), {}, 0.0, true);
  const at::Tensor y = out.transpose(1, 2).reshape({qkv.size(0), qkv.size(1), -1});
  return {values_of(y), [leaf, y](const at::Tensor& dy) {
            y.backward(dy);
            return leaf.grad();
          }};
}

}  // namespace

at::Tensor causal_attention(at::Tensor qkv, int64_t heads, int64_t kv_heads,
                            const RotaryTable* rotary, AttentionKernel kernel) {
  const bool records = recording();
  at::AutoGradMode no_grad(false);
  const QkvShape shape = QkvShape::of(qkv, heads, kv_heads);
  const at::Tensor values = values_of(qkv);
  if (rotary) rotate(values, shape, *rotary, 1);
  const bool on_cpu = kernel == AttentionKernel::kOfDevice && qkv.is_cpu();
  const Attended attended =
      on_cpu ? attend_on_cpu(values, shape) : attend_by_graph(values, shape, records);
  if (!records) return attended.y;
  return record(attended.y, {qkv},
                [shape, rotary,
                 gradient = attended.gradient](const at::Tensor& dy) -> std::vector<at::Tensor> {
                  const at::Tensor dqkv = gradient(dy);
                  if (rotary) rotate(dqkv, shape, *rotary, -1);
                  return {dqkv};
                });
}

Attention::Attention(const Scope& scope, const AttentionOptions& o)
    : qkv_(scope / "qkv", {.inputs = o.width,
                           .outputs = (o.heads + 2 * o.kv_heads) * (o.width / o.heads),
                           .bias = o.bias,
                           .kind = LayerKind::kAttention}),
      output_(scope / "output", {.inputs = o.width,
                                 .outputs = o.width,
                                 .bias = o.bias,
                                 .deviation = o.output_deviation,
                                 .kind = LayerKind::kAttention}),
      heads_(o.heads),
      kv_heads_(o.kv_heads) {
  const int64_t head_width = o.width / o.heads, group = o.heads / o.kv_heads;
  if (o.rope_theta) {
    rotary_ = RotaryTable::of(o.positions, head_width, *o.rope_theta,
                              qkv_.weight().value().scalar_type());
  }
  // A unit is a key-value head with the query heads that it serves.
  UnitGroup heads{scope.name_of("heads"), UnitKind::kHead, o.kv_heads, {}, {}};
  for (Parameter* made : {&qkv_.weight(), qkv_.bias()}) {
    if (!made) continue;
    heads.slices.push_back({made, 0, 0, group * head_width});
    heads.slices.push_back({made, 0, o.width, head_width});
    heads.slices.push_back({made, 0, o.width + o.kv_heads * head_width, head_width});
  }
  heads.slices.push_back({&output_.weight(), 1, 0, group * head_width});
  scope.model().groups.push_back(std::move(heads));
}

at::Tensor Attention::operator()(const at::Tensor& x) {
  return output_(causal_attention(qkv_(x), heads_, kv_heads_, rotary_ ? &*rotary_ : nullptr));
}

}  // namespace wattle
