#pragma once

#include <vector>

#include "trainer/loop/figures_exchange.h"
#include "trainer/nn/model.h"

namespace wattle {

/// Brings batch norm's running averages up to date with the statistics of all micro-batches of a
/// step, in their global order, so that they do not depend on the number of ranks. Collective;
/// `local` are this rank's, in order. Models without batch norm, and
/// those whose statistics are frozen, exchange nothing.
void exchange_statistics(FiguresExchange& exchange,
                         const std::vector<std::vector<BatchStatistics>>& local, Model& model);

}  // namespace wattle
