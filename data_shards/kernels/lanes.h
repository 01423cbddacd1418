// Numbers side by side in vector registers, of fp32 and bf16 memory, computed in fp32.

#pragma once

#include <cstdint>
#include <cstring>

namespace {

struct bf16 {
  uint16_t bits;
};

template <int L>
struct Vectors;
#define VECTORS_OF(L)                                           \
  template <>                                                   \
  struct Vectors<L> {                                           \
    typedef float Floats __attribute__((vector_size(4 * L)));   \
    typedef int32_t Ints __attribute__((vector_size(4 * L)));   \
    typedef uint32_t Words __attribute__((vector_size(4 * L))); \
    typedef uint16_t Halves __attribute__((vector_size(2 * L))); \
    typedef uint8_t Bytes __attribute__((vector_size(L)));      \
  };
VECTORS_OF(16)
VECTORS_OF(4)
VECTORS_OF(1)

// L numbers side by side.
template <int L>
struct Lanes {
  using Floats = typename Vectors<L>::Floats;
  using Ints = typename Vectors<L>::Ints;
  using Words = typename Vectors<L>::Words;
  using Halves = typename Vectors<L>::Halves;
  using Bytes = typename Vectors<L>::Bytes;

  template <typename V>
  static V get(const void* from) {
    V v;
    memcpy(&v, from, sizeof v);
    return v;
  }
  template <typename V>
  static void put(void* to, V v) {
    memcpy(to, &v, sizeof v);
  }

  static Floats load(const float* from) { return get<Floats>(from); }
  static Floats load(const bf16* from) {
    return (Floats)(__builtin_convertvector(get<Halves>(from), Words) << 16);
  }
  static Ints load(const uint8_t* from) {
    // In two steps, for GCC has no vector instructions for both at once.
    return __builtin_convertvector(__builtin_convertvector(get<Bytes>(from), Halves), Ints);
  }

  static Floats floats(const uint8_t* from) { return __builtin_convertvector(load(from), Floats); }

  static void store(float* to, Floats v) { put(to, v); }
  static void store(bf16* to, Floats v) {
    // To the nearest, ties to even; a NaN stays one.
    const Words b = (Words)v;
    const Words rounded = (b + 0x7fff + ((b >> 16) & 1)) >> 16;
    put(to, __builtin_convertvector(v != v ? Words{} + 0x7fc0 : rounded, Halves));
  }
  static void store(uint8_t* to, Ints v) { put(to, __builtin_convertvector(v, Bytes)); }
};

// Calls f(lanes, i) for blocks that cover [0, count), wide ones first.
template <typename F>
void for_lanes(int64_t count, F f) {
  int64_t i = 0;
  for (; i + 16 <= count; i += 16) f(Lanes<16>{}, i);
  for (; i + 4 <= count; i += 4) f(Lanes<4>{}, i);
  for (; i < count; ++i) f(Lanes<1>{}, i);
}

}  // namespace
