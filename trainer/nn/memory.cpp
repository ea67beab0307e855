#include "trainer/nn/memory.h"

#include <malloc.h>

#include <climits>

#include "common/error.h"

namespace wattle {

void keep_freed_memory() {
  if (mallopt(M_MMAP_THRESHOLD, INT_MAX) != 1 || mallopt(M_TRIM_THRESHOLD, INT_MAX) != 1) {
    throw Error(ErrorCode::kInternal, "malloc refuses to keep freed memory");
  }
}

}  // namespace wattle
