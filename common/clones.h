#pragma once

/// WATTLE_CLONES compiles a function for several x86-64 processors, of which the program takes the
/// best that it runs on when it starts; callees must be inlined (WATTLE_INLINE). The bits are the
/// same on all of them where the file is compiled with -ffp-contract=off; WATTLE_FMA_CLONES may
/// fuse. WATTLE_HAS_CLONES stands where that can be had: a sanitizer's runtime starts only after
/// the choice was made.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define WATTLE_HAS_CLONES
#define WATTLE_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#define WATTLE_FMA_CLONES __attribute__((target_clones("avx512f", "avx2,fma", "default")))
#else
#define WATTLE_CLONES
#define WATTLE_FMA_CLONES
#endif
#define WATTLE_INLINE inline __attribute__((always_inline))
