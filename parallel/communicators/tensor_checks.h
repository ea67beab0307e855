#pragma once

#include <ATen/core/Tensor.h>

#include "parallel/communicator.h"

namespace wattle {

/// What a communicator asks of its arguments; each throws Error(kInternal) that names the
/// operation, what was expected and what came.
void check_tensor(const at::Tensor& tensor, c10::DeviceType device, const char* operation);
/// The larger tensor holds `size` times the elements of the smaller, of the same type.
void check_sizes(const at::Tensor& small, const at::Tensor& large, int size, const char* operation);
void check_rank(int rank, int size, const char* operation);

}  // namespace wattle
