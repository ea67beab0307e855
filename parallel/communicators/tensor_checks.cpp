#include "parallel/communicators/tensor_checks.h"

#include <sstream>

#include "common/error.h"

namespace wattle {
namespace {

template <class... Parts>
[[noreturn]] void fail(const char* operation, const Parts&... parts) {
  std::ostringstream message;
  message << operation << ": ";
  (message << ... << parts);
  throw Error(ErrorCode::kInternal, message.str());
}

}  // namespace

void check_tensor(const at::Tensor& tensor, c10::DeviceType device, const char* operation) {
  if (!tensor.defined()) fail(operation, "expected a tensor, got an undefined one");
  if (tensor.device().type() != device) {
    fail(operation, "expected a tensor on ", device, ", got one on ", tensor.device());
  }
  if (!tensor.is_contiguous()) fail(operation, "expected a contiguous tensor");
}

void check_sizes(const at::Tensor& small, const at::Tensor& large, int size,
                 const char* operation) {
  if (small.scalar_type() != large.scalar_type()) {
    fail(operation, "types differ: ", small.scalar_type(), " and ", large.scalar_type());
  }
  if (small.numel() * size != large.numel()) {
    fail(operation, "expected ", size, " x ", small.numel(), " elements, got ", large.numel());
  }
}

void check_rank(int rank, int size, const char* operation) {
  if (rank < 0 || rank >= size) {
    fail(operation, "expected a rank below ", size, ", got ", rank);
  }
}

}  // namespace wattle
