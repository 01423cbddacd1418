// Sums over the pixels of an image, exact: integers alone.

#include <algorithm>
#include <cstdint>

namespace {

// So many products of bytes fit into 32 bits.
constexpr int64_t PIXELS_AT_ONCE = (int64_t(1) << 32) / (256 * 256) - 1;

}  // namespace

// Adds pixels, RGB, to `image`, and their products to the six of `products`: RR RG RB GG GB BB.
extern "C" void add_pixels(const uint8_t* __restrict pixels, int64_t num_pixels,
                           int64_t* __restrict image, int64_t* __restrict products) {
  for (int64_t from = 0; from < num_pixels; from += PIXELS_AT_ONCE) {
    const int64_t end = std::min(from + PIXELS_AT_ONCE, num_pixels);
    uint32_t rr = 0, rg = 0, rb = 0, gg = 0, gb = 0, bb = 0;
    for (int64_t i = from; i < end; ++i) {
      const uint32_t r = pixels[3 * i], g = pixels[3 * i + 1], b = pixels[3 * i + 2];
      rr += r * r, rg += r * g, rb += r * b, gg += g * g, gb += g * b, bb += b * b;
    }
    const uint32_t sums[] = {rr, rg, rb, gg, gb, bb};
    for (int64_t j = 0; j < 6; ++j) products[j] += sums[j];
    for (int64_t j = 3 * from; j < 3 * end; ++j) image[j] += pixels[j];
  }
}
