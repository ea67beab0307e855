#pragma once

#include "trainer/models/model_options.h"
#include "trainer/nn/scope.h"

namespace wattle {

// Each adds its layers, objective and registry to the scope's model.

/// GPT-2 (Radford et al. 2019): learned positions, norm before each sublayer, GELU.
void build_gpt2(const ModelOptions& options, const Scope& scope);

/// LLaMA (Touvron et al. 2023): rotary positions, RMSNorm, grouped-query attention, SwiGLU.
void build_llama(const ModelOptions& options, const Scope& scope);

/// Dense layers with ReLU and dropout after each, and a last one without. Takes images as rows too.
void build_mlp(const ModelOptions& options, const Scope& scope);

/// Residual network (He et al. 2016) for small images.
void build_resnet(const ModelOptions& options, const Scope& scope);

/// VGG (Simonyan and Zisserman 2015) with batch norm, for small images.
void build_vgg(const ModelOptions& options, const Scope& scope);

}  // namespace wattle
