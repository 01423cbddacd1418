// What is known of an image before its scan (ITU-T T.81, annex B), and the scan's bytes.

#pragma once

#include <cstdint>
#include <cstring>

#include "jpeg_codes.h"

namespace {

constexpr int COMPONENTS = 3;

struct Header {
  TableSpec specs[4];  // two of DC, two of AC, each by its Th
  uint8_t quantisers[4][64];  // in zigzag order
  bool has_specs[4], has_quantisers[4], has_frame;
  struct {
    uint8_t quantiser, dc, ac;  // indices of the above
  } components[COMPONENTS];
  const uint8_t* scan;  // its entropy-coded data
};

// A marker's segment, without its length.
struct Segment {
  const uint8_t* at;
  const uint8_t* end;

  int64_t left() const { return end - at; }
  int read() { return *at++; }
};

bool read_quantisers(Segment segment, Header& header) {  // DQT, B.2.4.1
  while (segment.left() >= 1 + 64) {
    const int kind = segment.read();
    // Of 8 bits alone.
    if (kind > 3) return false;
    memcpy(header.quantisers[kind], segment.at, 64);
    header.has_quantisers[kind] = true;
    segment.at += 64;
  }
  return segment.left() == 0;
}

bool read_specs(Segment segment, Header& header) {  // DHT, B.2.4.2
  while (segment.left() >= 1 + 16) {
    const int kind = segment.read();
    if (kind & ~0x11) return false;
    const int index = kind >> 4 << 1 | (kind & 1);
    TableSpec& spec = header.specs[index];
    memcpy(spec.counts, segment.at, 16);
    segment.at += 16;
    int count = 0;
    for (const int of_length : spec.counts) count += of_length;
    if (count > 256 || count > segment.left()) return false;
    memset(spec.symbols, 0, sizeof spec.symbols);
    memcpy(spec.symbols, segment.at, count);
    segment.at += count;
    header.has_specs[index] = true;
  }
  return segment.left() == 0;
}

bool read_frame(Segment segment, Header& header, int size) {  // SOF0, B.2.2
  if (header.has_frame || segment.left() != 6 + 3 * COMPONENTS) return false;
  const uint8_t wanted[6] = {8, (uint8_t)(size >> 8), (uint8_t)size,
                             (uint8_t)(size >> 8), (uint8_t)size, COMPONENTS};
  if (memcmp(segment.at, wanted, 6) != 0) return false;
  segment.at += 6;
  for (int c = 0; c < COMPONENTS; ++c) {
    // By these numbers libjpeg knows Y, Cb and Cr, whether there is a JFIF header or none.
    if (segment.read() != c + 1) return false;
    if (segment.read() != (c == 0 ? 0x22 : 0x11)) return false;
    header.components[c].quantiser = segment.read();
    if (header.components[c].quantiser > 3) return false;
  }
  return header.has_frame = true;
}

bool read_scan(Segment segment, Header& header) {  // SOS, B.2.3
  if (!header.has_frame || segment.left() != 1 + 2 * COMPONENTS + 3) return false;
  if (segment.read() != COMPONENTS) return false;
  for (int c = 0; c < COMPONENTS; ++c) {
    if (segment.read() != c + 1) return false;
    const int tables = segment.read();
    if (tables & ~0x11) return false;
    auto& component = header.components[c];
    component.dc = tables >> 4;
    component.ac = 2 | (tables & 1);
    if (!header.has_specs[component.dc] || !header.has_specs[component.ac]) return false;
    if (!header.has_quantisers[component.quantiser]) return false;
  }
  const uint8_t sequential[3] = {0, 63, 0};
  return memcmp(segment.at, sequential, 3) == 0;
}

// JFIF 1.02 and its like: libjpeg warns of other versions.
bool is_known_jfif(Segment segment) {
  return segment.left() < 6 || memcmp(segment.at, "JFIF", 5) != 0 || segment.at[5] == 1;
}

bool read_header(const uint8_t* data, int64_t num_bytes, int size, Header& header) {
  memset(&header, 0, sizeof header);
  const uint8_t* const end = data + num_bytes;
  if (num_bytes < 2 || data[0] != 0xff || data[1] != 0xd8) return false;
  for (const uint8_t* at = data + 2; end - at >= 4;) {
    const int marker = at[1], length = at[2] << 8 | at[3];
    if (at[0] != 0xff || length < 2 || length > end - at - 2) return false;
    const Segment segment{at + 4, at + 2 + length};
    at = segment.end;
    bool known = false;
    switch (marker) {
      case 0xdb: known = read_quantisers(segment, header); break;
      case 0xc4: known = read_specs(segment, header); break;
      case 0xc0: known = read_frame(segment, header, size); break;
      case 0xe0: known = is_known_jfif(segment); break;
      case 0xe1: case 0xfe: known = true; break;  // EXIF or XMP, comment
      case 0xda:
        header.scan = at;
        return read_scan(segment, header);
    }
    if (!known) return false;
  }
  return false;
}

// Copies a scan that ends with the image (EOI), without the zero behind each 0xff (B.1.1.5). Returns
// its bytes; -1 if it ends otherwise, or does not fit.
int64_t unstuff(const uint8_t* from, const uint8_t* end, uint8_t* to, int64_t capacity) {
  const uint8_t* const begin = to;
  while (true) {
    const auto* const marker = (const uint8_t*)memchr(from, 0xff, end - from);
    if (!marker || end - marker < 2 || marker - from >= capacity - (to - begin)) return -1;
    memcpy(to, from, marker - from);
    to += marker - from;
    if (marker[1] == 0xd9) return to - begin;
    if (marker[1] != 0) return -1;
    *to++ = 0xff;
    from = marker + 2;
  }
}

}  // namespace
