#include "trainer/loop/figures_exchange.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

namespace wattle {

FiguresExchange::FiguresExchange(Communicator& communicator, at::Device device)
    : communicator_(communicator), device_(device) {}

std::vector<std::vector<double>> FiguresExchange::gather(std::span<const double> figures) {
  const auto count = static_cast<int64_t>(figures.size());
  at::Tensor mine = at::empty({count}, at::kDouble);
  std::ranges::copy(figures, mine.data_ptr<double>());
  at::Tensor all = at::empty({size() * count}, mine.options().device(device_));
  communicator_.all_gather(mine.to(device_), all);
  all = all.cpu();
  std::vector<std::vector<double>> rows;
  for (int rank = 0; rank < size(); ++rank) {
    const double* row = all.data_ptr<double>() + rank * count;
    rows.emplace_back(row, row + count);
  }
  return rows;
}

std::vector<std::string> FiguresExchange::gather_texts(const std::string& text) {
  const double length = static_cast<double>(text.size());
  std::vector<size_t> lengths;
  for (const std::vector<double>& row : gather({&length, 1})) {
    lengths.push_back(static_cast<size_t>(row.front()));
  }
  const auto longest =
      static_cast<int64_t>(std::max<size_t>(1, *std::ranges::max_element(lengths)));
  at::Tensor mine = at::zeros({longest}, at::kByte);
  std::ranges::copy(text, mine.data_ptr<uint8_t>());
  at::Tensor all = at::empty({size() * longest}, mine.options().device(device_));
  communicator_.all_gather(mine.to(device_), all);
  all = all.cpu();
  std::vector<std::string> texts;
  for (int rank = 0; rank < size(); ++rank) {
    const uint8_t* begin = all.data_ptr<uint8_t>() + rank * longest;
    texts.emplace_back(begin, begin + lengths[rank]);
  }
  return texts;
}

}  // namespace wattle
