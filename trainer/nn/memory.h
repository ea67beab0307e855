#pragma once

namespace wattle {

/// Makes malloc keep what it once got from the system: a step then finds the memory of the step
/// before, and the kernel has no pages to clear again (5 % of a step). Call once, at the start of a
/// program that trains. Throws Error(kInternal) if the allocator refuses.
void keep_freed_memory();

}  // namespace wattle
