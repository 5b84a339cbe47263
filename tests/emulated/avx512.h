/*
 * The AVX-512 intrinsics of lanes_avx512.c in plain C, from SIMDe, under their own names: so the same source runs where
 * the CPU has none of it.
 */
#ifndef MYR_EMULATED_AVX512_H
#define MYR_EMULATED_AVX512_H

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wundef"
#pragma GCC diagnostic ignored "-Wunused-parameter"
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#pragma GCC diagnostic pop
#define __mmask8  simde__mmask8
#define __mmask16 simde__mmask16
#define __mmask64 simde__mmask64

#endif
