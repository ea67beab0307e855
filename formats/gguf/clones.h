#pragma once

/// WATTLE_CLONES compiles a function for several x86-64 processors, of which the program takes the
/// best that it runs on; callees must be inlined. The bits are the same on all of them where the
/// file is compiled with -ffp-contract=off. WATTLE_HAS_CLONES stands where that can be had.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__)
#define WATTLE_HAS_CLONES
#define WATTLE_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define WATTLE_CLONES
#endif
