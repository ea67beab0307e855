#include "trainer/nn/scope.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>

#include "trainer/nn/kernels/philox.h"

namespace wattle {
namespace {

/// FNV-1a: the same everywhere, unlike std::hash.
uint64_t hash_of(const std::string& text) {
  uint64_t hash = 14695981039346656037u;
  for (const unsigned char c : text) hash = (hash ^ c) * 1099511628211u;
  return hash;
}

}  // namespace

Scope Scope::operator/(const std::string& name) const {
  Scope inner = *this;
  inner.path_ = name_of(name);
  return inner;
}

std::string Scope::name_of(const std::string& leaf) const {
  if (path_.empty() || leaf.empty()) return path_ + leaf;
  return path_ + "." + leaf;
}

at::Tensor Scope::normal(const std::string& leaf, at::IntArrayRef shape, double deviation) const {
  const uint64_t seed = mixed(mixed(seed_) + hash_of(name_of(leaf)));
  at::Tensor values = at::empty(shape, at::kFloat);
  values.normal_(0.0, deviation, at::make_generator<at::CPUGeneratorImpl>(seed));
  return values.to(dtype_);
}

at::Tensor Scope::constant(at::IntArrayRef shape, double value) const {
  return at::full(shape, value, dtype_);
}

void Scope::add_weight(Parameter& weight, Parameter* bias) const {
  add(weight);
  if (bias) add(*bias);
  model_.weights.push_back({&weight, bias});
}

void Scope::follow(const Parameter& weight, FollowingNorm norm) const {
  for (Weight& known : model_.weights) {
    if (known.weight == &weight) known.norm = std::move(norm);
  }
}

void Scope::add_buffer(const std::string& leaf, at::Tensor value) const {
  model_.buffers.push_back({name_of(leaf), std::move(value)});
}

}  // namespace wattle
