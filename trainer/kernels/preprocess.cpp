// From uint8 crops to what the towers read, in one pass: minus the mean image, plus a shift of the
// colour, divided; (n, c, c, 3), computed in fp32, written as fp32 or bf16.
//
// Bit for bit what `trainer/learning/preprocess.py` computes with torch: the same operations in the same order.

#include <vector>

#include "lanes.h"

namespace {

constexpr int64_t CHANNELS = 3;

struct Sizes {
  int64_t n, crop, mean;
};

template <typename T>
void prepare(const uint8_t* images, const float* means, const int64_t* offsets,
             const bool* mirrored, const float* shifts, T* to, const Sizes& sizes, float divisor) {
  const int64_t row_size = sizes.crop * CHANNELS;
#pragma omp parallel
  {
    std::vector<float> shift(row_size, 0.0f);
#pragma omp for schedule(static)
    for (int64_t n = 0; n < sizes.n; ++n) {
      if (shifts)
        for (int64_t i = 0; i < row_size; ++i) shift[i] = shifts[n * CHANNELS + i % CHANNELS];
      // What lies under a reflected crop lies in the reflected mean image as far from its right edge.
      const int64_t top = offsets[2 * n], left = offsets[2 * n + 1];
      const int64_t column = mirrored[n] ? sizes.mean - sizes.crop - left : left;
      const float* mean = means + mirrored[n] * sizes.mean * sizes.mean * CHANNELS;
      for (int64_t row = 0; row < sizes.crop; ++row) {
        const float* under = mean + ((top + row) * sizes.mean + column) * CHANNELS;
        const int64_t here = (n * sizes.crop + row) * row_size;
        for_lanes(row_size, [&](auto lanes, int64_t i) {
          const auto pixels = lanes.floats(images + here + i);
          const auto v = (pixels - lanes.load(under + i)) + lanes.load(shift.data() + i);
          lanes.store(to + here + i, v / divisor);
        });
      }
    }
  }
}

}  // namespace

// `means`, (2, s, s, 3), is the mean image and its reflection, so that rows are read as they lie;
// `shifts`, (n, 3), may be null.
#define FOR(NAME, T)                                                                                \
  extern "C" void prepare_##NAME(const uint8_t* images, const float* means, const int64_t* offsets, \
                                 const bool* mirrored, const float* shifts, T* to, int64_t n,       \
                                 int64_t crop, int64_t mean_size, float divisor) {                  \
    prepare(images, means, offsets, mirrored, shifts, to, {n, crop, mean_size}, divisor);           \
  }

FOR(float32, float)
FOR(bfloat16, bf16)
