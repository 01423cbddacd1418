// From uint8 crops to what the towers read, in one pass: minus the mean image, plus a shift of the
// colour, divided; (n, c, c, 3), computed in fp32, written as fp32 or bf16.
//
// Bit for bit what `trainer/preprocess.py` computes with torch: the same operations in the same order.

#include <algorithm>
#include <vector>

#include "lanes.h"

namespace {

constexpr int64_t CHANNELS = 3;

struct Sizes {
  int64_t n, crop, mean;
};

// A row of the mean image under a crop, reflected as the crop is.
void copy_row(const float* from, float* to, int64_t pixels, bool mirrored) {
  if (!mirrored) {
    std::copy(from, from + pixels * CHANNELS, to);
    return;
  }
  for (int64_t j = 0; j < pixels; ++j)
    std::copy(from + (pixels - 1 - j) * CHANNELS, from + (pixels - j) * CHANNELS, to + j * CHANNELS);
}

template <typename T>
void prepare(const uint8_t* images, const float* mean, const int64_t* offsets,
             const bool* mirrored, const float* shifts, T* to, const Sizes& sizes, float divisor) {
  const int64_t row_size = sizes.crop * CHANNELS;
#pragma omp parallel
  {
    std::vector<float> under(row_size), shift(row_size, 0.0f);
#pragma omp for schedule(static)
    for (int64_t n = 0; n < sizes.n; ++n) {
      if (shifts)
        for (int64_t i = 0; i < row_size; ++i) shift[i] = shifts[n * CHANNELS + i % CHANNELS];
      for (int64_t row = 0; row < sizes.crop; ++row) {
        const int64_t corner = (offsets[2 * n] + row) * sizes.mean + offsets[2 * n + 1];
        copy_row(mean + corner * CHANNELS, under.data(), sizes.crop, mirrored[n]);
        const int64_t here = (n * sizes.crop + row) * row_size;
        for_lanes(row_size, [&](auto lanes, int64_t i) {
          const auto pixels = lanes.floats(images + here + i);
          const auto v = (pixels - lanes.load(under.data() + i)) + lanes.load(shift.data() + i);
          lanes.store(to + here + i, divisor == 1.0f ? v : v / divisor);
        });
      }
    }
  }
}

}  // namespace

// `shifts`, (n, 3), may be null; a divisor of 1 divides nothing.
#define FOR(NAME, T)                                                                              \
  extern "C" void prepare_##NAME(const uint8_t* images, const float* mean, const int64_t* offsets, \
                                 const bool* mirrored, const float* shifts, T* to, int64_t n,     \
                                 int64_t crop, int64_t mean_size, float divisor) {                \
    prepare(images, mean, offsets, mirrored, shifts, to, {n, crop, mean_size}, divisor);          \
  }

FOR(float32, float)
FOR(bfloat16, bf16)
