// From coefficients to pixels, side by side in vector registers, with libjpeg-turbo's very bits.

#pragma once

#include <cstdint>
#include <cstring>

namespace {

// --- Inverse cosine transform (ITU-T T.81, A.3.3) -----------------------------------------------

typedef int16_t Row __attribute__((vector_size(16)));
// Two blocks side by side: a row of the one, then the same row of the other.
typedef int16_t Shorts __attribute__((vector_size(32)));
typedef int32_t Ints __attribute__((vector_size(64)));
// Sums of what no image holds may overflow; unsigned ones do so without harm.
typedef uint32_t Words __attribute__((vector_size(64)));
typedef uint8_t Bytes __attribute__((vector_size(16)));

// libjpeg adds some numbers of both passes in 16 bits, and how it overflows is its own affair.
// None does while each is below this; an image's numbers are below 10000 at any quality.
constexpr uint32_t TRANSFORM_LIMIT = 1 << 14;

// Its accurate integer transform (jidctint.c), by Loeffler, Ligtenberg and Moschytz, of vectors'
// elements; the results are scaled by 2^13, and take a bias first.
inline void transform(const Words (&in)[8], uint32_t bias, Words (&out)[8]) {
  constexpr uint32_t C0_298 = 2446, C0_390 = 3196, C0_541 = 4433, C0_765 = 6270, C0_899 = 7373,
                     C1_175 = 9633, C1_501 = 12299, C1_847 = 15137, C1_961 = 16069, C2_053 = 16819,
                     C2_562 = 20995, C3_072 = 25172;
  const Words e = (in[2] + in[6]) * C0_541;
  const Words e2 = e - in[6] * C1_847, e3 = e + in[2] * C0_765;
  const Words e0 = ((in[0] + in[4]) << 13) + bias, e1 = ((in[0] - in[4]) << 13) + bias;
  const Words even[4] = {e0 + e3, e1 + e2, e1 - e2, e0 - e3};

  const Words a = in[7] + in[3], b = in[5] + in[1], c = (a + b) * C1_175;
  const Words z1 = (in[7] + in[1]) * C0_899, z2 = (in[5] + in[3]) * C2_562;
  const Words z3 = c - a * C1_961, z4 = c - b * C0_390;
  const Words odd[4] = {in[1] * C1_501 - z1 + z4, in[3] * C3_072 - z2 + z3,
                        in[5] * C2_053 - z2 + z4, in[7] * C0_298 - z1 + z3};
  for (int i = 0; i < 4; ++i) {
    out[i] = even[i] + odd[i];
    out[7 - i] = even[i] - odd[i];
  }
}

// Rows become columns, of both blocks.
inline void transpose(Shorts (&rows)[8]) {
  Shorts halves[8];
  // Thrice: the first and the last four vectors' elements in turn.
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 4; ++i) {
      halves[2 * i] = __builtin_shufflevector(rows[i], rows[i + 4], 0, 16, 1, 17, 2, 18, 3, 19, 8,
                                              24, 9, 25, 10, 26, 11, 27);
      halves[2 * i + 1] = __builtin_shufflevector(rows[i], rows[i + 4], 4, 20, 5, 21, 6, 22, 7, 23,
                                                  12, 28, 13, 29, 14, 30, 15, 31);
    }
    memcpy(rows, halves, sizeof halves);
  }
}

// Writes two blocks' samples, 8 rows of 8 each. `extremes` collects whether a number of either pass
// is beyond the limit.
inline void inverse_transform(const int16_t* first_block, const int16_t* second_block,
                              const Ints (&quantisers)[8], Words& extremes, uint8_t* first,
                              uint8_t* second, int64_t stride) {
  constexpr int PASS = 2;  // bits kept between the passes
  Words in[8], out[8];
  Shorts rows[8];
  for (int i = 0; i < 8; ++i) {
    Row of_first, of_second;
    memcpy(&of_first, first_block + 8 * i, sizeof of_first);
    memcpy(&of_second, second_block + 8 * i, sizeof of_second);
    rows[i] = __builtin_shufflevector(of_first, of_second, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
                                      13, 14, 15);
    in[i] = (Words)(__builtin_convertvector(rows[i], Ints) * quantisers[i]);
    extremes |= in[i] + TRANSFORM_LIMIT;
  }
  transform(in, 1 << (13 - PASS - 1), out);
  for (int i = 0; i < 8; ++i) {
    const Ints scaled = (Ints)out[i] >> (13 - PASS);
    extremes |= (Words)scaled + TRANSFORM_LIMIT;
    rows[i] = __builtin_convertvector(scaled, Shorts);
  }
  transpose(rows);
  for (int i = 0; i < 8; ++i) in[i] = (Words)__builtin_convertvector(rows[i], Ints);
  // Samples are stored 128 above what is transformed (A.3.1).
  transform(in, (128u << (13 + PASS + 3)) + (1 << (13 + PASS + 2)), out);
  for (int i = 0; i < 8; ++i) {
    Ints sample = (Ints)out[i] >> (13 + PASS + 3);
    sample = sample < 0 ? Ints{} : sample;
    sample = sample > 255 ? Ints{} + 255 : sample;
    rows[i] = __builtin_convertvector(sample, Shorts);
  }
  transpose(rows);
  for (int i = 0; i < 8; ++i) {
    const Bytes samples = __builtin_convertvector(rows[i], Bytes);
    memcpy(first + i * stride, &samples, 8);
    memcpy(second + i * stride, (const uint8_t*)&samples + 8, 8);
  }
}

// --- Chroma at full resolution, and colours (JFIF 1.02) -----------------------------------------

constexpr int LANES = 16;
typedef uint16_t Sums __attribute__((vector_size(2 * LANES)));

// Doubles a row of chroma as libjpeg's "fancy" upsampling does: ¾ of the nearer sample and ¼ of the
// further, both ways. `sums` holds 3·near + far of two rows' samples from `begin - 1` to `end`.
// Writes up to a vector more than 2·(end - begin) samples.
void upsample(const uint16_t* sums, int begin, int end, uint8_t* out) {
  for (int x = begin; x < end; x += LANES) {
    Sums before, here, after;
    memcpy(&before, sums + x - 1, sizeof before);
    memcpy(&here, sums + x, sizeof here);
    memcpy(&after, sums + x + 1, sizeof after);
    const Sums left = (3 * here + before + 8) >> 4, right = (3 * here + after + 7) >> 4;
    const Sums pairs = left | right << 8;
    memcpy(out + 2 * (x - begin), &pairs, sizeof pairs);
  }
}

// By way of 16 bits: GCC takes the elements one by one where it is told to convert at once.
Ints widen(Bytes bytes) {
  return __builtin_convertvector(__builtin_convertvector(bytes, Shorts), Ints);
}

Bytes narrow(Ints scaled) {
  Ints value = scaled >> 16;
  value = value < 0 ? Ints{} : value;
  value = value > 255 ? Ints{} + 255 : value;
  return __builtin_convertvector(__builtin_convertvector(value, Shorts), Bytes);
}

// Writes pixels of RGB, 3·LANES bytes.
template <bool MIRRORED>
void write_pixels(const uint8_t* y, const uint8_t* cb, const uint8_t* cr, uint8_t* out) {
  Ints luma, blue, red;
  Ints* const channels[3] = {&luma, &blue, &red};
  const uint8_t* const from[3] = {y, cb, cr};
  for (int c = 0; c < 3; ++c) {
    Bytes bytes;
    memcpy(&bytes, from[c], sizeof bytes);
    if (MIRRORED)
      bytes = __builtin_shufflevector(bytes, bytes, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2,
                                      1, 0);
    *channels[c] = widen(bytes);
  }
  // 1.402, 0.34414, 0.71414 and 1.772 in units of 2^-16, rounded once, as libjpeg does.
  luma = (luma << 16) + 32768;
  blue -= 128;
  red -= 128;
  const Bytes r = narrow(luma + 91881 * red);
  const Bytes g = narrow(luma - 22554 * blue - 46802 * red);
  const Bytes b = narrow(luma + 116130 * blue);
  // First red and green, then blue between them.
  const Bytes two[3] = {
      __builtin_shufflevector(r, g, 0, 16, -1, 1, 17, -1, 2, 18, -1, 3, 19, -1, 4, 20, -1, 5),
      __builtin_shufflevector(r, g, 21, -1, 6, 22, -1, 7, 23, -1, 8, 24, -1, 9, 25, -1, 10, 26),
      __builtin_shufflevector(r, g, -1, 11, 27, -1, 12, 28, -1, 13, 29, -1, 14, 30, -1, 15, 31, -1)};
  const Bytes pixels[3] = {
      __builtin_shufflevector(two[0], b, 0, 1, 16, 3, 4, 17, 6, 7, 18, 9, 10, 19, 12, 13, 20, 15),
      __builtin_shufflevector(two[1], b, 0, 21, 2, 3, 22, 5, 6, 23, 8, 9, 24, 11, 12, 25, 14, 15),
      __builtin_shufflevector(two[2], b, 26, 1, 2, 27, 4, 5, 28, 7, 8, 29, 10, 11, 30, 13, 14, 31)};
  memcpy(out, pixels, sizeof pixels);
}

// Writes `edge` pixels, of which the first are at y, cb and cr.
template <bool MIRRORED>
void write_row(const uint8_t* y, const uint8_t* cb, const uint8_t* cr, int edge, uint8_t* out) {
  for (int begun = 0; begun < edge; begun += LANES) {
    // The last pixels together with some that are written already.
    const int x = edge - begun >= LANES || edge < LANES ? begun : edge - LANES;
    const int from = MIRRORED ? edge - LANES - x : x;
    uint8_t pixels[3 * LANES];
    write_pixels<MIRRORED>(y + from, cb + from, cr + from, edge < LANES ? pixels : out + 3 * x);
    if (edge < LANES) memcpy(out, pixels, 3 * edge);
  }
}

}  // namespace
