// The paper's update rule (section 5) in one pass: weights, velocity and gradients are read once, and
// the weights' copy in bf16 is written with them.
//
// Bit for bit what `trainer/learning/update_rule.py` computes with torch: every product and every sum is
// rounded, in the same order, so this must be compiled with -ffp-contract=off. No element knows of
// another: results do not depend on the number of threads.

#include <algorithm>

#include "lanes.h"

namespace {

// What a thread takes at a time.
constexpr int64_t BLOCK = 1 << 14;

// v <- momentum * v + decay * w + rate * g,  w <- w + v
template <typename G>
void update(float* w, float* v, const G* g, bf16* copy, int64_t count, float momentum, float decay,
            float rate) {
#pragma omp parallel for schedule(static)
  for (int64_t from = 0; from < count; from += BLOCK)
    for_lanes(std::min(BLOCK, count - from), [&](auto lanes, int64_t j) {
      const int64_t i = from + j;
      const auto old = lanes.load(w + i);
      const auto next = lanes.load(v + i) * momentum + old * decay + lanes.load(g + i) * rate;
      lanes.store(v + i, next);
      lanes.store(w + i, old + next);
      if (copy) lanes.store(copy + i, old + next);
    });
}

}  // namespace

// `copy` may be null.
#define FOR(NAME, G)                                                                       \
  extern "C" void update_##NAME(float* w, float* v, const G* g, bf16* copy, int64_t count, \
                                float momentum, float decay, float rate) {                 \
    update(w, v, g, copy, count, momentum, decay, rate);                                   \
  }

FOR(float32, float)
FOR(bfloat16, bf16)
