// Huffman codes (ITU-T T.81, annexes C and F.2.2.3), and the bits that they are read from.

#pragma once

#include <cstdint>
#include <cstring>

namespace {

// As a DHT segment gives one: how many codes of each length, then what they stand for (B.2.4.2).
struct TableSpec {
  uint8_t counts[16];
  uint8_t symbols[256];
};

// What the next bits mean. A symbol and the value that follows it are one entry where both fit into
// the bits looked at.
struct Entry {
  uint8_t bits;     // to be consumed; 0: the code is longer than what is looked at
  uint8_t advance;  // in zigzag order, up to the coefficient itself; 0: the value follows
  int16_t value;    // the coefficient; the symbol where the value follows
};

constexpr int LOOKAHEAD = 11;  // bits; measured: 12 are not quicker

// An entry that ends its block: it leads beyond, whatever came before.
constexpr int BEYOND = 65;

struct Table {
  Entry entries[1 << LOOKAHEAD];
  // By length (F.2.2.3): codes of it and shorter ones are below this, as 16 bits.
  uint32_t limit[17];
  int32_t offset[17];
  const TableSpec* spec;
  bool dc;
};

// F.2.2.1, EXTEND: the value that `size` bits stand for.
int32_t extend(uint32_t bits, int size) {
  return bits < (1u << size >> 1) ? (int32_t)bits - (1 << size) + 1 : (int32_t)bits;
}

// How far in zigzag order an entry's coefficient is from the one before (F.1.2.2.1).
uint8_t advance_of(uint8_t symbol, bool dc) {
  return symbol == 0 && !dc ? BEYOND : (symbol >> 4) + 1;
}

// Returns false for what is not a Huffman code, or holds symbols of no 8-bit baseline image.
bool build(const TableSpec& spec, bool dc, Table& table) {
  memset(&table, 0, sizeof table);
  table.spec = &spec;
  table.dc = dc;
  uint32_t code = 0;
  int num_symbols = 0;
  for (int length = 1; length <= 16; ++length) {
    const int count = spec.counts[length - 1];
    if (num_symbols + count > 256) return false;
    table.offset[length] = num_symbols - (int32_t)code;
    for (int i = 0; i < count; ++i, ++code, ++num_symbols) {
      const uint8_t symbol = spec.symbols[num_symbols];
      const int size = symbol & 15;
      const bool is_odd = size > 10 || (size == 0 && symbol != 0 && symbol != 0xf0);
      if (dc ? symbol > 11 : is_odd) return false;
      // All ones is no code (C.2).
      if (code + 1 >= 1u << length) return false;
      if (length > LOOKAHEAD) continue;
      const int rest = LOOKAHEAD - length;
      Entry* entry = table.entries + (code << rest);
      for (uint32_t following = 0; following < 1u << rest; ++following, ++entry) {
        if (size > rest)
          *entry = {(uint8_t)length, 0, symbol};
        else
          *entry = {(uint8_t)(length + size), advance_of(symbol, dc),
                    (int16_t)(size ? extend(following >> (rest - size), size) : 0)};
      }
    }
    table.limit[length] = code << (16 - length);
    code <<= 1;
  }
  return true;
}

// The next bits, the first one on top.
struct Bits {
  uint64_t bits;
  int64_t count;  // how many of them are counted on; those below are right too, or zero
  const uint8_t* next;

  void start(const uint8_t* from) { *this = {0, 0, from}; }
  // Leaves 56 bits or more, for two symbols with their values: 16 + 11 bits are the longest. Where
  // to load from has been known since the last time, so that nothing waits for memory (the fourth
  // variant of F. Giesen's "Reading bits in far too many ways").
  void refill() {
    uint64_t word;
    memcpy(&word, next, 8);
    bits |= __builtin_bswap64(word) >> count;
    next += (count ^ 63) >> 3;
    count |= 56;
  }
  void skip(int num) {
    bits <<= num & 63;
    count -= num;
  }
  int64_t consumed(const uint8_t* from) const { return 8 * (next - from) - count; }
};

// The entry of a code or a value that a glance did not tell.
__attribute__((noinline)) Entry resolve(const Table& table, uint64_t bits, Entry entry) {
  int length = entry.bits;
  uint8_t symbol = (uint8_t)entry.value;
  if (length == 0) {
    const uint32_t ahead = bits >> 48;
    length = LOOKAHEAD + 1;
    while (length <= 16 && ahead >= table.limit[length]) ++length;
    if (length > 16) return {1, BEYOND, 1};
    symbol = table.spec->symbols[((ahead >> (16 - length)) + table.offset[length]) & 255];
  }
  const int size = symbol & 15;
  const uint32_t value = bits << length >> 1 >> (63 - size);
  return {(uint8_t)(length + size), advance_of(symbol, table.dc), (int16_t)extend(value, size)};
}

// From zigzag order (figure A.6) to rows. What lies beyond a block goes to a place behind it.
struct Places {
  uint8_t of[256];
  constexpr Places() : of() {
    int index = 0;
    for (int diagonal = 0; diagonal < 15; ++diagonal)
      for (int i = 0; i <= diagonal; ++i) {
        const int row = diagonal & 1 ? i : diagonal - i, column = diagonal - row;
        if (row < 8 && column < 8) of[index++] = 8 * row + column;
      }
    while (index < 256) of[index++] = 64;
  }
};
constexpr Places PLACES;

struct alignas(32) Block {
  int16_t coefficients[64 + 1];  // the last stands for all that lie beyond the block
  const Table* ac;
  intptr_t to_next_dc;  // bytes from it to the table of the next block's first symbol

  // There was a coefficient beyond the block, or a code that is none.
  bool is_broken() const { return coefficients[64] != 0; }

  void set_tables(const Table* own, const Table* next) {
    ac = own;
    to_next_dc = (intptr_t)next - (intptr_t)own;
  }
};

// Where a stream's next symbol is read from, and where its coefficient goes.
struct Cursor {
  Bits bits;
  const Table* table;
  Block* block;
  int64_t index;  // in zigzag order, of the coefficient read last; -1 before the first

  // Without a branch at a block's end, which no processor foresees: the next block's first symbol
  // is but read with another table.
  void read() {
    Entry entry = table->entries[bits.bits >> (64 - LOOKAHEAD)];
    if (__builtin_expect(entry.advance == 0, 0)) entry = resolve(*table, bits.bits, entry);
    bits.skip(entry.bits);
    index += entry.advance;
    block->coefficients[PLACES.of[(uint8_t)index]] = entry.value;
    const int64_t ended = (62 - index) >> 63;  // all ones if so
    table = (const Table*)((intptr_t)block->ac + (block->to_next_dc & ended));
    block = (Block*)((intptr_t)block + ((intptr_t)sizeof(Block) & ended));
    index |= ended;
  }
};

}  // namespace
