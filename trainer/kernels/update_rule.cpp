// The paper's update rule (section 5) in one pass: weights, velocity and gradients are read once.
//
// Bit for bit what `trainer/update_rule.py` computes with torch: every product and every sum is
// rounded, in the same order, so this must be compiled with -ffp-contract=off. No element knows of
// another: results do not depend on the number of threads.

#include <cstdint>

// v <- momentum * v + decay * w + rate * g,  w <- w + v
extern "C" void update(float* __restrict w, float* __restrict v, const float* __restrict g,
                       int64_t count, float momentum, float decay, float rate) {
#pragma omp parallel for simd schedule(static)
  for (int64_t i = 0; i < count; ++i) {
    const float next = v[i] * momentum + w[i] * decay + g[i] * rate;
    v[i] = next;
    w[i] += next;
  }
}
