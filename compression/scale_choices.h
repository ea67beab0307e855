#pragma once

namespace wattle {

/// Which neighbours of a weight share a scale.
enum class ScaleSharing { kTensor, kChannel, kGroup };

/// The same as a key of the YAML file.
enum class SharingChoice { kAuto, kTensor, kChannel, kGroup };

/// What of a grid is learned by gradient.
enum class ScaleLearning {
  kNone,
  kStep,      ///< learned step size, LSQ (Esser et al. 2020, arXiv:1902.08153)
  kClipping,  ///< learned clipping: only clipped values move the ends (PACT, Choi et al. 2018,
              ///< arXiv:1805.06085, on both sides)
};

}  // namespace wattle
