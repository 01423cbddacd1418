// What follows conv1 and conv2, fused: ReLU, local response normalisation and max pooling, each way
// in one pass over channels_last maps (n, h, w, c) of fp32 or bf16, computed in fp32.
//
// Each image is one thread's from start to end, and no sum goes over images: results do not depend
// on the number of threads. A row of a map is unpacked to fp32 with HALF zeros behind the channels of
// each pixel, so that sums over a window of channels run through a whole row without edges.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "lanes.h"

namespace {

// Section 3.3: k, beta and n = 2 * HALF + 1. Section 3.4: pools of 3 with stride 2.
constexpr float K = 2.0f, BETA = 0.75f;
constexpr int64_t HALF = 2, POOL = 3, STRIDE = 2;
// The backward pass works through a row by so many pixels, whose sums fit into the first cache.
constexpr int64_t PIXELS_AT_ONCE = 8;

struct Maps {
  int64_t n, h, w, c;

  int64_t pixel() const { return c + HALF; }
  int64_t row() const { return w * pixel(); }
  int64_t pooled_h() const { return pooled(h); }
  int64_t pooled_w() const { return pooled(w); }

  // Rounded up: a last, smaller window covers what is left.
  static int64_t pooled(int64_t size) {
    return size <= POOL ? 1 : (size - POOL + STRIDE - 1) / STRIDE + 1;
  }
};

struct Scratch {
  // `count` rows, each between HALF zeros.
  Scratch(const Maps& maps, int64_t count)
      : stride_(maps.row() + 2 * HALF), memory_(count * stride_, 0.0f) {}
  float* operator[](int64_t number) { return memory_.data() + number * stride_ + HALF; }

 private:
  int64_t stride_;
  std::vector<float> memory_;
};

// A row of pixels -> fp32; the zeros behind each pixel are there already.
template <typename T>
void unpack(const T* from, float* to, const Maps& maps, bool rectified) {
  for (int64_t j = 0; j < maps.w; ++j, from += maps.c, to += maps.pixel())
    for_lanes(maps.c, [&](auto lanes, int64_t i) {
      const auto v = lanes.load(from + i);
      // A NaN is not below zero, and stays.
      lanes.store(to + i, rectified ? (v < 0.0f ? decltype(v){} : v) : v);
    });
}

template <typename T>
void pack(const float* from, T* to, const Maps& maps) {
  for (int64_t j = 0; j < maps.w; ++j, from += maps.pixel(), to += maps.c)
    for_lanes(maps.c, [&](auto lanes, int64_t i) { lanes.store(to + i, lanes.load(from + i)); });
}

inline float window_sum(const float* v) { return ((v[-2] + v[-1]) + (v[0] + v[1])) + v[2]; }

// b = a * s^-3/4 with s = k + alpha * (sum of squares); s^-3/4 = r * sqrt(r) with r = 1 / sqrt(s).
void normalise(const float* __restrict a, float* __restrict squares, float* __restrict b,
               int64_t size, float alpha) {
  for (int64_t i = 0; i < size; ++i) squares[i] = a[i] * a[i];
  for (int64_t i = 0; i < size; ++i) {
    const float r = 1.0f / std::sqrt(K + alpha * window_sum(squares + i));
    b[i] = a[i] * (r * std::sqrt(r));
  }
}

// From the gradient g of b to that of a:
//   g_i * s_i^-3/4 - 2 * alpha * beta * a_i * (sum over the window of g_j * a_j * s_j^-7/4).
void normalise_backward(const float* __restrict a, const float* __restrict g,
                        float* __restrict squares, float* __restrict products,
                        float* __restrict to, const Maps& maps, float alpha) {
  const int64_t size = maps.row(), block = PIXELS_AT_ONCE * maps.pixel();
  for (int64_t from = 0; from < size; from += block) {
    const int64_t count = std::min(block, size - from);
    for (int64_t i = 0; i < count; ++i) squares[i] = a[from + i] * a[from + i];
    for (int64_t i = 0; i < count; ++i) {
      const float r = 1.0f / std::sqrt(K + alpha * window_sum(squares + i));
      const float scaled = g[from + i] * (r * std::sqrt(r));
      to[from + i] = scaled;
      products[i] = scaled * a[from + i] * (r * r);
    }
    for (int64_t i = 0; i < count; ++i)
      to[from + i] -= 2 * alpha * BETA * a[from + i] * window_sum(products + i);
  }
}

// The largest of each window of `rows` (a ring of the last POOL), and which of the nine it was.
template <typename T>
void pool_row(Scratch& ring, int64_t top, T* to, uint8_t* where, const Maps& maps) {
  const int64_t bottom = std::min(top + POOL, maps.h);
  for (int64_t q = 0; q < maps.pooled_w(); ++q, to += maps.c, where += maps.c) {
    const int64_t left = q * STRIDE, right = std::min(left + POOL, maps.w);
    for_lanes(maps.c, [&](auto lanes, int64_t i) {
      auto best = lanes.load(ring[top % POOL] + left * maps.pixel() + i);
      auto at = typename decltype(lanes)::Ints{};
      for (int64_t r = top; r < bottom; ++r)
        for (int64_t s = left; s < right; ++s) {
          const auto v = lanes.load(ring[r % POOL] + s * maps.pixel() + i);
          // The first of equals, as torch has it, and a NaN before all.
          const auto larger = (v > best) | (v != v);
          best = larger ? v : best;
          at = larger ? decltype(at){} + int32_t((r - top) * POOL + (s - left)) : at;
        }
      lanes.store(to + i, best);
      lanes.store(where + i, at);
    });
  }
}

// Adds to row `row` of the gradient what the windows of pooled row `p` owe it.
template <typename T>
void unpool_row(const T* g, const uint8_t* where, int64_t p, int64_t row, float* to,
                const Maps& maps) {
  for (int64_t q = 0; q < maps.pooled_w(); ++q, g += maps.c, where += maps.c) {
    const int64_t width = std::min(POOL, maps.w - q * STRIDE);
    for (int64_t s = 0; s < width; ++s) {
      float* pixel = to + (q * STRIDE + s) * maps.pixel();
      const int32_t wanted = int32_t((row - p * STRIDE) * POOL + s);
      for_lanes(maps.c, [&](auto lanes, int64_t i) {
        const auto owed = lanes.load(g + i);
        const auto chosen = lanes.load(where + i) == wanted;
        lanes.store(pixel + i, lanes.load(pixel + i) + (chosen ? owed : decltype(owed){}));
      });
    }
  }
}

template <typename T>
void forward(const T* x, T* y, uint8_t* where, const Maps& maps, float alpha, bool rectified,
             bool pools) {
  const int64_t in_row = maps.w * maps.c, out_row = maps.pooled_w() * maps.c;
#pragma omp parallel
  {
    Scratch scratch(maps, 2), ring(maps, POOL);
    float *a = scratch[0], *squares = scratch[1];
#pragma omp for schedule(static)
    for (int64_t n = 0; n < maps.n; ++n)
      for (int64_t row = 0; row < maps.h; ++row) {
        float* b = ring[row % POOL];
        unpack(x + (n * maps.h + row) * in_row, a, maps, rectified);
        normalise(a, squares, b, maps.row(), alpha);
        if (!pools) {
          pack(b, y + (n * maps.h + row) * in_row, maps);
          continue;
        }
        const bool last = row == maps.h - 1;
        if (!last && (row < POOL - 1 || row % STRIDE != 0)) continue;
        const int64_t p = last ? maps.pooled_h() - 1 : (row - POOL + 1) / STRIDE;
        const int64_t out = (n * maps.pooled_h() + p) * out_row;
        pool_row(ring, p * STRIDE, y + out, where + out, maps);
      }
  }
}

template <typename T>
void backward(const T* g, const uint8_t* where, const T* x, T* to, const Maps& maps, float alpha,
              bool rectified, bool pools) {
  const int64_t in_row = maps.w * maps.c, out_row = maps.pooled_w() * maps.c;
#pragma omp parallel
  {
    Scratch scratch(maps, 5);
    float *a = scratch[0], *squares = scratch[1], *products = scratch[2];
    float *gradient = scratch[3], *result = scratch[4];
#pragma omp for schedule(static)
    for (int64_t n = 0; n < maps.n; ++n)
      for (int64_t row = 0; row < maps.h; ++row) {
        const int64_t here = (n * maps.h + row) * in_row;
        unpack(x + here, a, maps, rectified);
        if (pools) {
          std::fill(gradient, gradient + maps.row(), 0.0f);
          const int64_t first = row < POOL ? 0 : (row - POOL + STRIDE) / STRIDE;
          const int64_t last = std::min(row / STRIDE, maps.pooled_h() - 1);
          for (int64_t p = first; p <= last; ++p) {
            const int64_t out = (n * maps.pooled_h() + p) * out_row;
            unpool_row(g + out, where + out, p, row, gradient, maps);
          }
        } else {
          unpack(g + here, gradient, maps, false);
        }
        normalise_backward(a, gradient, squares, products, result, maps, alpha);
        const T* was = x + here;
        T* into = to + here;
        const float* from = result;
        for (int64_t j = 0; j < maps.w;
             ++j, was += maps.c, into += maps.c, from += maps.pixel())
          for_lanes(maps.c, [&](auto lanes, int64_t i) {
            const auto v = lanes.load(from + i);
            lanes.store(into + i,
                        rectified ? (lanes.load(was + i) <= 0.0f ? decltype(v){} : v) : v);
          });
      }
  }
}

}  // namespace

#define FOR(NAME, T)                                                                              \
  extern "C" void forward_##NAME(const T* x, T* y, uint8_t* where, int64_t n, int64_t h,          \
                                 int64_t w, int64_t c, float alpha, bool rectified, bool pools) { \
    forward(x, y, where, {n, h, w, c}, alpha, rectified, pools);                                  \
  }                                                                                               \
  extern "C" void backward_##NAME(const T* g, const uint8_t* where, const T* x, T* to, int64_t n, \
                                  int64_t h, int64_t w, int64_t c, float alpha, bool rectified,   \
                                  bool pools) {                                                   \
    backward(g, where, x, to, {n, h, w, c}, alpha, rectified, pools);                             \
  }

FOR(float32, float)
FOR(bfloat16, bf16)
