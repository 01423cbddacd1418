// Decodes every image of a file, each in memory of exactly its size, and prints how many it could.
//
// FILE SIZE; an image is its length in bytes, int64, then the bytes.

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <vector>

#include "jpeg.cpp"

int main(int, char** arguments) {
  std::ifstream file(arguments[1], std::ios::binary);
  const int64_t size = atoll(arguments[2]);
  std::vector<std::unique_ptr<uint8_t[]>> images;
  std::vector<int64_t> lengths;
  for (int64_t length; file.read((char*)&length, sizeof length);) {
    images.emplace_back(new uint8_t[length]);
    file.read((char*)images.back().get(), length);
    lengths.push_back(length);
  }
  const int64_t count = images.size();
  const auto done = std::make_unique<bool[]>(count);
  int64_t num_done = 0;
  for (const int64_t edge : {size, size - size / 8, int64_t{1}}) {
    // By corners, so that whatever lies beyond the image's edges is asked for.
    std::vector<Crop> crops;
    for (int64_t i = 0; i < count; ++i)
      crops.push_back({images[i].get(), lengths[i], i, i & 1 ? size - edge : 0,
                       i & 2 ? size - edge : 0, i >> 2 & 1});
    const auto out = std::make_unique<uint8_t[]>(count * edge * edge * 3);
    decode_crops(crops.data(), count, size, edge, out.get(), done.get());
    num_done = 0;
    for (int64_t i = 0; i < count; ++i) num_done += done[i];
  }
  printf("%lld\n", (long long)num_done);
}
