// Crops of baseline JPEGs, with libjpeg-turbo's very bits (islow, fancy upsampling).
//
// Most of decoding a photograph is waiting: where a Huffman code ends must be known before the next
// can be looked at, and where a block ends is a branch that no processor foresees. So two images
// are decoded at once, a symbol of the one and a symbol of the other, and no symbol is a branch.
//
// Only what is common is decoded here: 8 bits, Huffman codes, one scan of Y, Cb and Cr, colour at
// half resolution (4:2:0), no restart markers, nothing that libjpeg would warn of. All else is left
// to the caller's other decoder. Clauses and figures are those of ITU-T T.81.

#include <cstdint>
#include <cstring>
#include <memory>
#include <new>

#include "jpeg_header.h"
#include "jpeg_pixels.h"

namespace {

constexpr int BLOCKS = 6;  // of a minimum coded unit (MCU): four of Y, one of Cb, one of Cr (A.2.3)
constexpr int EDGE = 16;   // pixels of an MCU, each way
constexpr int MIN_SIZE = 6;  // below, chroma of two samples, which libjpeg repeats
constexpr int MAX_SIZE = 2048;

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "bits and samples are read as words");

// What is to be decoded; jpeg.py makes these.
struct Crop {
  const uint8_t* image;
  int64_t image_bytes;
  int64_t place;  // of all that is written to
  int64_t row, column, mirrored;
};

// The tables of an image. Most images have the same ones, those of annex K.
struct TableSet {
  TableSpec specs[4];
  Table tables[4];
  bool built = false;
  int users = 0;
};

constexpr int DECODERS = 2;  // at once; measured: more have too few registers

constexpr int STRETCH = 4 * BLOCKS;  // blocks that are read before any is looked at

// What a call is about: its arguments, and what all decoders share.
struct Batch {
  const Crop* crops;
  int64_t count, next;
  int64_t size, edge;  // of images and of crops, in pixels
  uint8_t* out;
  bool* done;
  TableSet sets[DECODERS]{};
  Table nothing{};  // what follows an image: takes no bits

  int mcus() const { return ((int)size + EDGE - 1) / EDGE; }
  // The last row, and column, of chroma.
  int last_chroma() const { return ((int)size + 1) / 2 - 1; }
  // The longest scan: each block's 64 coefficients, of 16 + 11 bits at most.
  int64_t scan_capacity() const { return (int64_t)mcus() * mcus() * BLOCKS * (64 * 27 / 8); }

  // Returns null where the codes are none.
  TableSet* find_set(const Header& header) {
    for (TableSet& set : sets)
      if (set.built && !memcmp(set.specs, header.specs, sizeof set.specs)) return &set;
    // One is free: the decoder that asks has none.
    TableSet* free = sets;
    while (free->users) ++free;
    memcpy(free->specs, header.specs, sizeof free->specs);
    free->built = true;
    for (int i = 0; i < 4; ++i) free->built &= build(free->specs[i], i < 2, free->tables[i]);
    return free->built ? free : nullptr;
  }
};

// Bytes that a stretch's bits, and a refill, may lie beyond the scan before that is noticed.
constexpr int OVERRUN = (STRETCH + 1) * 64 * 27 / 8 + 2 * 8;

// Decodes one image after another.
struct Decoder {
  Cursor cursor;
  Block blocks[STRETCH + 1];
  Block* end;  // of the stretch; a block behind it may have been begun
  Ints quantisers[2][8];  // of two blocks of Y; of one of Cb and one of Cr
  Words extremes;
  TableSet* set;
  Crop crop;
  bool* done;
  int64_t scan_bytes;
  int32_t predictions[COMPONENTS];
  int mcu_row, mcu_column, mcus_left;
  int first_row, last_row, first_column, last_column;  // the MCUs that the crop needs
  std::unique_ptr<uint8_t[]> memory;
  uint8_t *scan, *y, *cb, *cr, *wide_cb, *wide_cr;
  uint16_t* sums;
  int y_stride, c_stride;

  bool allocate(const Batch& batch) {
    const int mcus = batch.mcus();
    y_stride = EDGE * mcus;
    c_stride = y_stride / 2;
    // Vectors may begin before what is wanted and end behind it.
    constexpr int margin = 64;
    const int64_t sizes[] = {batch.scan_capacity() + OVERRUN,
                             (int64_t)y_stride * y_stride,
                             (int64_t)c_stride * c_stride,
                             (int64_t)c_stride * c_stride,
                             y_stride,
                             y_stride,
                             (int64_t)sizeof *sums * c_stride};
    uint8_t** const parts[] = {&scan, &y, &cb, &cr, &wide_cb, &wide_cr, (uint8_t**)&sums};
    int64_t total = margin;
    for (const int64_t part : sizes) total += (part + 2 * margin - 1) / margin * margin;
    memory.reset(new (std::nothrow) uint8_t[total]);
    if (!memory) return false;
    uint8_t* at = memory.get() + margin;
    for (int i = 0; i < 7; ++i) {
      *parts[i] = at;
      at += (sizes[i] + 2 * margin - 1) / margin * margin;
    }
    return true;
  }

  // False where the image is not ours.
  bool begin(Batch& batch, int64_t number) {
    Header header;
    crop = batch.crops[number];
    done = batch.done + number;
    if (!read_header(crop.image, crop.image_bytes, batch.size, header)) return false;
    const uint8_t* const image_end = crop.image + crop.image_bytes;
    scan_bytes = unstuff(header.scan, image_end, scan, batch.scan_capacity());
    if (scan_bytes < 0) return false;
    memset(scan + scan_bytes, 0, OVERRUN);
    set = batch.find_set(header);
    if (!set) return false;
    ++set->users;
    memset(blocks, 0, sizeof blocks);
    for (int i = 0; i <= STRETCH; ++i) {
      constexpr int component_of[] = {0, 0, 0, 0, 1, 2, 0};
      const int* const component = component_of + i % BLOCKS;
      blocks[i].set_tables(set->tables + header.components[component[0]].ac,
                           set->tables + header.components[component[1]].dc);
    }
    for (int i = 0; i < 64; ++i) {
      const int row = PLACES.of[i] >> 3, column = PLACES.of[i] & 7;
      for (int second = 0; second < 2; ++second) {
        quantisers[0][row][8 * second + column] =
            header.quantisers[header.components[0].quantiser][i];
        quantisers[1][row][8 * second + column] =
            header.quantisers[header.components[1 + second].quantiser][i];
      }
    }
    memset(predictions, 0, sizeof predictions);
    extremes = Words{};
    mcu_row = mcu_column = 0;
    mcus_left = batch.mcus() * batch.mcus();
    find_mcus(batch, crop.row, first_row, last_row);
    find_mcus(batch, crop.column, first_column, last_column);
    cursor.bits.start(scan);
    cursor.table = set->tables + header.components[0].dc;
    cursor.index = -1;
    begin_stretch(batch);
    return true;
  }

  // The crop's chroma, one sample before it and one behind, lies in these.
  static void find_mcus(const Batch& batch, int from, int& first, int& last) {
    const int before = from / 2 - 1, behind = (from + (int)batch.edge - 1) / 2 + 1;
    first = (before < 0 ? 0 : before) / (EDGE / 2);
    last = (behind > batch.last_chroma() ? batch.last_chroma() : behind) / (EDGE / 2);
  }

  void begin_stretch(const Batch& batch) {
    const int num_blocks = mcus_left * BLOCKS < STRETCH ? mcus_left * BLOCKS : STRETCH;
    cursor.block = blocks;
    end = blocks + num_blocks;
    if (mcus_left * BLOCKS <= STRETCH) end[-1].set_tables(end[-1].ac, &batch.nothing);
  }

  enum Next { GO_ON, WHOLE, BROKEN };

  Next finish_stretch(const Batch& batch) {
    if (cursor.bits.next > scan + scan_bytes + 8 || end->is_broken()) return BROKEN;
    Block* block = blocks;
    for (; block != end; block += BLOCKS, --mcus_left) {
      if (!predict(block)) return BROKEN;
      transform_mcu(block);
      if (++mcu_column == batch.mcus()) {
        mcu_column = 0;
        ++mcu_row;
      }
    }
    if (mcus_left == 0) return is_whole() ? WHOLE : BROKEN;
    // The first block of the next stretch may have been begun.
    const int16_t begun = block->coefficients[0];
    for (Block& each : blocks) memset(each.coefficients, 0, sizeof each.coefficients);
    blocks[0].coefficients[0] = begun;
    begin_stretch(batch);
    return GO_ON;
  }

  // F.2.1.3.1: what was read is the difference to the component's block before.
  bool predict(Block* mcu) {
    for (int b = 0; b < BLOCKS; ++b) {
      if (mcu[b].is_broken()) return false;
      int32_t& prediction = predictions[b < 4 ? 0 : b - 3];
      prediction += mcu[b].coefficients[0];
      if (prediction + TRANSFORM_LIMIT >= 2 * TRANSFORM_LIMIT) return false;
      mcu[b].coefficients[0] = prediction;
    }
    return true;
  }

  void transform_mcu(const Block* mcu) {
    if (mcu_row < first_row || mcu_row > last_row || mcu_column < first_column ||
        mcu_column > last_column)
      return;
    const int at = EDGE / 2 * (mcu_row * c_stride + mcu_column);
    uint8_t* to = y + EDGE * (mcu_row * y_stride + mcu_column);
    auto pair = [&](int b, const Ints(&q)[8], uint8_t* first, uint8_t* second, int stride) {
      inverse_transform(mcu[b].coefficients, mcu[b + 1].coefficients, q, extremes, first, second,
                        stride);
    };
    pair(0, quantisers[0], to, to + 8, y_stride);
    to += 8 * y_stride;
    pair(2, quantisers[0], to, to + 8, y_stride);
    pair(4, quantisers[1], cb + at, cr + at, c_stride);
  }

  // The scan's last byte was begun, no number overflowed.
  bool is_whole() const {
    const int64_t left = 8 * scan_bytes - cursor.bits.consumed(scan);
    bool extreme = false;
    for (int i = 0; i < 16; ++i) extreme |= extremes[i] >= 2 * TRANSFORM_LIMIT;
    return left >= 0 && left < 8 && !extreme;
  }

  void write(const Batch& batch) {
    const int edge = batch.edge, last = batch.last_chroma(), column = crop.column;
    const int begin = column / 2, end = (column + edge - 1) / 2 + 1;
    const int from = begin > 0 ? begin - 1 : 0, to = end < last ? end : last;
    uint8_t* out = batch.out + crop.place * edge * edge * 3;
    for (int i = 0; i < edge; ++i, out += 3 * edge) {
      // Beyond the image's edges its outermost samples are repeated.
      const int row = crop.row + i, near = row / 2, next = row & 1 ? near + 1 : near - 1;
      const int far = next < 0 ? 0 : next > last ? last : next;
      for (int red = 0; red < 2; ++red) {
        const uint8_t* const plane = red ? cr : cb;
        const uint8_t *n = plane + near * c_stride, *f = plane + far * c_stride;
        for (int x = from; x <= to; ++x) sums[x] = 3 * n[x] + f[x];
        if (begin == 0) sums[-1] = sums[0];
        sums[last + 1] = sums[last];
        upsample(sums, begin, end, red ? wide_cr : wide_cb);
      }
      const auto write = crop.mirrored ? write_row<true> : write_row<false>;
      const int odd = column & 1;
      write(y + row * y_stride + column, wide_cb + odd, wide_cr + odd, edge, out);
    }
  }

  // Takes the next image that is ours; false if there is none.
  bool take(Batch& batch) {
    while (batch.next < batch.count)
      if (begin(batch, batch.next++)) return true;
    return false;
  }

  // Out of line, so that the loop around it keeps its registers.
  __attribute__((noinline)) bool proceed(Batch& batch) {
    const Next next = finish_stretch(batch);
    if (__builtin_expect(next == GO_ON, 1)) return true;
    if (next == WHOLE) write(batch);
    *done = next == WHOLE;
    --set->users;
    return take(batch);
  }
};

// Has N decoders at work until one of them, which is returned, finds no more images.
template <int N>
int run(Decoder* const* decoders, Batch& batch) {
  Cursor cursors[N];
  for (int i = 0; i < N; ++i) cursors[i] = decoders[i]->cursor;
  int ended = -1;
  const auto read_two = [&](int i) __attribute__((always_inline)) {
    cursors[i].bits.refill();
    cursors[i].read();
    cursors[i].read();
    if (__builtin_expect(cursors[i].block >= decoders[i]->end, 0)) {
      decoders[i]->cursor = cursors[i];
      if (!decoders[i]->proceed(batch)) ended = i;
      cursors[i] = decoders[i]->cursor;
    }
  };
  while (ended < 0) {
    // Not a loop, which GCC would not unroll: it keeps cursors in registers where i is a constant.
    read_two(0);
    if (N == 2 && ended < 0) read_two(1);
  }
  for (int i = 0; i < N; ++i) decoders[i]->cursor = cursors[i];
  return ended;
}

}  // namespace

// Decodes crops, edge × edge, of images that are size × size, to their places of `out`, each
// (edge, edge, 3). `done`, (count), tells of each whether it was; the others may hold anything.
extern "C" void decode_crops(const Crop* crops, int64_t count, int64_t size, int64_t edge,
                             uint8_t* out, bool* done) {
  memset(done, 0, count);
  std::unique_ptr<Batch> batch(new (std::nothrow) Batch{crops, count, 0, size, edge, out, done});
  std::unique_ptr<Decoder[]> decoders(new (std::nothrow) Decoder[DECODERS]);
  if (!batch || !decoders || size < MIN_SIZE || size > MAX_SIZE) return;
  for (Entry& entry : batch->nothing.entries) entry.advance = 1;
  Decoder* active[DECODERS];
  int num_active = 0;
  for (int i = 0; i < DECODERS; ++i) {
    Decoder& decoder = decoders[i];
    if (decoder.allocate(*batch) && decoder.take(*batch)) active[num_active++] = &decoder;
  }
  if (num_active == 2) {
    const int ended = run<2>(active, *batch);
    active[0] = active[1 - ended];
    num_active = 1;
  }
  if (num_active == 1) run<1>(active, *batch);
}
