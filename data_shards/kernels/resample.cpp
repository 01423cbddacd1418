// Lanczos' filter on RGB bytes, to the bits of Pillow's Image.resize with a box: weights in fixed
// point, rows first, rounded to bytes, then columns.
//
// Compiled with -ffp-contract=off, for the weights are doubles before they are rounded.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "lanes.h"

namespace {

constexpr int RADIUS = 3;
// What Pillow keeps of a weight: of the 32 bits 8 are a byte's, 2 are room for weights whose sum
// passes 1, or 0 from above.
constexpr int FRACTION = 32 - 8 - 2;
// Bytes of a pixel while it is worked on, RGB and none, and rows worked on side by side: a vector.
constexpr int64_t CHANNELS = 3, PIXEL = 4, ROWS = 16, VECTOR = PIXEL * ROWS;

using Ints = Lanes<16>::Ints;
using Words = Lanes<16>::Words;

double sinc(double x) { return x == 0.0 ? 1.0 : std::sin(x * M_PI) / (x * M_PI); }

double lanczos(double x) {
  return -RADIUS <= x && x < RADIUS ? sinc(x) * sinc(x / RADIUS) : 0.0;
}

// Along one axis, `size` outputs: each is a sum over `count` inputs from `first` on, with weights
// that lie `width` apart from one output to the next.
struct Taps {
  int32_t *first, *count, *weights;
  int64_t size, width;

  int64_t begin() const { return first[0]; }
  int64_t end() const { return first[size - 1] + count[size - 1]; }
};

// The weighted sum of the inputs of one output, for the lowest BYTES bytes of 16 words.
template <int BYTES, typename F>
Words weigh(const Taps& taps, int64_t at, F input) {
  const int32_t* weights = taps.weights + at * taps.width;
  Ints sums[BYTES];
  for (int b = 0; b < BYTES; ++b) sums[b] = Ints{} + (1 << (FRACTION - 1));
  for (int32_t i = 0; i < taps.count[at]; ++i) {
    const Words words = Lanes<16>::get<Words>(input(taps.first[at] + i));
    for (int b = 0; b < BYTES; ++b) sums[b] += Ints(words >> (8 * b) & 255) * weights[i];
  }
  Words result = {};
  for (int b = 0; b < BYTES; ++b) {
    const Ints sum = sums[b] >> FRACTION;
    result |= Words(sum < 0 ? Ints{} : sum > 255 ? Ints{} + 255 : sum) << (8 * b);
  }
  return result;
}

// Columns [left, right) of a block of rows -> a vector a column.
void stand_up(const uint8_t* const* rows, int64_t left, int64_t right, uint8_t* columns) {
  // A pixel with the byte behind it, as long as there is one.
  for (int64_t x = left; x + 1 < right; ++x, columns += VECTOR)
    for (int64_t r = 0; r < ROWS; ++r) memcpy(columns + PIXEL * r, rows[r] + CHANNELS * x, PIXEL);
  for (int64_t r = 0; r < ROWS; ++r)
    memcpy(columns + PIXEL * r, rows[r] + CHANNELS * (right - 1), CHANNELS);
}

}  // namespace

// Fills in the weights for an axis of `length` pixels whose part [start, end) becomes taps->size.
extern "C" void lanczos_taps(int64_t length, float start, float end, Taps* taps) {
  const double scale = double(end - start) / taps->size, stretch = std::max(scale, 1.0);
  const double radius = RADIUS * stretch;
  std::vector<double> exact(taps->width);
  for (int64_t i = 0; i < taps->size; ++i) {
    const double centre = start + (i + 0.5) * scale;
    // Towards zero, also below it, where nothing lies.
    const int64_t first = std::max<int64_t>(int64_t(centre - radius + 0.5), 0);
    const int64_t count = std::min(int64_t(centre + radius + 0.5), length) - first;
    double sum = 0.0;
    for (int64_t j = 0; j < count; ++j)
      sum += exact[j] = lanczos((j + first - centre + 0.5) * (1.0 / stretch));
    for (int64_t j = 0; j < count; ++j) {
      const double weight = exact[j] / sum * (1 << FRACTION);
      taps->weights[i * taps->width + j] = int32_t(weight + (weight < 0 ? -0.5 : 0.5));
    }
    taps->first[i] = int32_t(first);
    taps->count[i] = int32_t(count);
  }
}

// RGB (height, width, 3) -> RGB (down.size, across.size, 3).
extern "C" void resample_rgb(const uint8_t* image, int64_t width, const Taps* across,
                             const Taps* down, uint8_t* to) {
  const int64_t top = down->begin(), bottom = down->end();
  const int64_t left = across->begin(), right = across->end();
  const int64_t row_bytes = CHANNELS * across->size;
  // Behind each row is room for a pixel's fourth byte, and for the end of a vector.
  const int64_t stride = row_bytes / VECTOR * VECTOR + VECTOR;
  std::vector<uint8_t> columns(VECTOR * (right - left));
  // Whole blocks of rows; the last rows of the last one are never read.
  std::vector<uint8_t> narrowed(stride * (bottom - top + ROWS - 1));
  for (int64_t y = top; y < bottom; y += ROWS) {
    const uint8_t* rows[ROWS];
    for (int64_t r = 0; r < ROWS; ++r)
      rows[r] = image + CHANNELS * width * std::min(y + r, bottom - 1);
    stand_up(rows, left, right, columns.data());
    for (int64_t x = 0; x < across->size; ++x) {
      const Words pixels = weigh<CHANNELS>(
          *across, x, [&](int64_t column) { return &columns[VECTOR * (column - left)]; });
      uint8_t* out = &narrowed[(y - top) * stride + CHANNELS * x];
      for (int64_t r = 0; r < ROWS; ++r)
        memcpy(out + r * stride, (const uint8_t*)&pixels + PIXEL * r, PIXEL);
    }
  }
  for (int64_t y = 0; y < down->size; ++y, to += row_bytes)
    for (int64_t x = 0; x < row_bytes; x += VECTOR) {
      const Words bytes = weigh<PIXEL>(
          *down, y, [&](int64_t row) { return &narrowed[(row - top) * stride + x]; });
      memcpy(to + x, &bytes, std::min(VECTOR, row_bytes - x));
    }
}
