#pragma once

#include <span>
#include <string>
#include <vector>

#include "parallel/communicator.h"

namespace wattle {

/// Lets all ranks see each other's small figures, so that they decide alike. A rank's figures are
/// doubles in an order that the caller fixes.
class FiguresExchange {
 public:
  /// `device` is where the communicator moves tensors; `communicator` must outlive this.
  FiguresExchange(Communicator& communicator, at::Device device);

  int rank() const { return communicator_.rank(); }
  int size() const { return communicator_.size(); }

  /// Collective; every rank gives as many figures. Row r of the answer is what rank r gave.
  std::vector<std::vector<double>> gather(std::span<const double> figures);

  /// Collective; texts of any length, by rank.
  std::vector<std::string> gather_texts(const std::string& text);

 private:
  Communicator& communicator_;
  at::Device device_;
};

}  // namespace wattle
