// Random parameters of the rotary operator with the memory they point to, and the plain loop over
// tokens, heads and channels that they are judged by, which shares the arithmetic of one pair with
// the kernels and nothing else.
//
// Buffers hold more than the elements in use and are compared whole, so that a stray write shows as
// well as a missing one.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "core/rope_launch.h"
#include "core/rope_pair.h"

namespace roformer_ext::rope_cases {

using core::DType;
using core::RopeParams;
using core::RopeStrides;
using Random = std::mt19937;
using Buffer = std::vector<std::uint64_t>;  // aligned well enough for 16-byte vectors

inline std::int64_t pick(Random& random, std::initializer_list<std::int64_t> choices) {
  return *(choices.begin() + random() % choices.size());
}

template <class T>
void put(T& to, double value) {
  core::narrow(static_cast<typename core::Arithmetic<T>::type>(value), to);
}

// Ordinary numbers, zeros of both signs, numbers that become subnormal, and ones that overflow.
template <class T>
void fill(void* data, std::int64_t count, Random& random) {
  std::normal_distribution<double> normal;
  for (std::int64_t i = 0; i < count; ++i) {
    const double scale[] = {1.0, 1.0, 1.0, 1e-39, 1e-7, 0.0, -0.0, 1e38, 6e4};
    put(static_cast<T*>(data)[i], normal(random) * scale[random() % 9]);
  }
}

inline void fill(DType dtype, void* data, std::int64_t count, Random& random) {
  switch (dtype) {
    case DType::kFloat32:
      return fill<float>(data, count, random);
    case DType::kFloat64:
      return fill<double>(data, count, random);
    case DType::kBFloat16:
      return fill<core::BFloat16>(data, count, random);
    default:
      return fill<core::Float16>(data, count, random);
  }
}

struct Tensor {
  Buffer storage;
  RopeStrides strides;
  DType dtype = DType::kFloat32;
  std::int64_t start = 0;  // elements before the first one

  void* data() {
    return reinterpret_cast<char*>(storage.data()) + start * core::element_size(dtype);
  }
};

// Dims in random memory order when `shuffled`, with gaps of `pad` elements between rows.
inline Tensor make_tensor(DType dtype, const std::vector<std::int64_t>& sizes, bool shuffled,
                          std::int64_t pad, std::int64_t start, Random& random) {
  std::vector<int> order{0, 1, 2, 3, 4};
  if (shuffled) std::shuffle(order.begin(), order.end() - (random() % 3 != 0), random);
  std::vector<std::int64_t> strides(5);
  std::int64_t count = 1;
  for (int i = 4; i >= 0; --i) {
    strides[order[i]] = count;
    count = count * sizes[order[i]] + (i == 4 ? pad : 0);
  }
  const std::int64_t size = core::element_size(dtype);
  Tensor tensor{Buffer((start + count + 1) * size / 8 + 2),
                {strides[0], strides[1], strides[2], strides[3], strides[4]},
                dtype,
                start};
  fill(dtype, tensor.storage.data(), static_cast<std::int64_t>(tensor.storage.size()) * 8 / size,
       random);
  return tensor;
}

struct Case {
  RopeParams params;
  Tensor x, out, cos, sin;
  Buffer ids;
};

inline std::int64_t read_id(const RopeParams& p, std::int64_t b, std::int64_t s) {
  const std::int64_t at = b * p.ids.batch_stride + s * p.ids.seq_stride;
  return p.ids.is_int64 ? static_cast<const std::int64_t*>(p.ids.data)[at]
                        : static_cast<const std::int32_t*>(p.ids.data)[at];
}

inline void set_id(Case& c, std::int64_t b, std::int64_t s, std::int64_t id) {
  const std::int64_t at = b * c.params.ids.batch_stride + s * c.params.ids.seq_stride;
  if (c.params.ids.is_int64) {
    reinterpret_cast<std::int64_t*>(c.ids.data())[at] = id;
  } else {
    reinterpret_cast<std::int32_t*>(c.ids.data())[at] = static_cast<std::int32_t>(id);
  }
}

inline Case make_case(Random& random) {
  Case c;
  RopeParams& p = c.params;
  p.dtype = static_cast<DType>(random() % 4);
  const std::int64_t lanes = 16 / core::element_size(p.dtype);
  const bool even_widths = random() % 2 != 0;
  p.batch = pick(random, {1, 2, 3});
  p.seq = pick(random, {1, 2, 5, 9});
  p.groups = pick(random, {1, 1, 2, 3});
  p.heads = pick(random, {1, 2, 3, 5, 8, 13});
  p.pairs = even_widths ? lanes * pick(random, {1, 2, 3}) : pick(random, {0, 1, 2, 3, 5, 8, 16});
  p.offset = even_widths ? lanes * pick(random, {0, 0, 1}) : pick(random, {0, 0, 1, 3});
  p.head_dim = p.offset + 2 * p.pairs +
               (even_widths ? lanes * pick(random, {0, 0, 2}) : pick(random, {0, 1, 4}));
  p.rotated_heads = random() % 3 != 0 ? p.groups * p.heads : random() % (p.groups * p.heads + 1);
  p.interleaved = random() % 2 != 0;
  p.conj = random() % 2 != 0;

  const std::vector<std::int64_t> sizes{p.batch, p.seq, p.groups, p.heads, p.head_dim};
  const auto tensor = [&](DType dtype, const std::vector<std::int64_t>& dims) {
    const std::int64_t step = 16 / core::element_size(dtype);
    const std::int64_t pad = even_widths ? step * (random() % 2) : random() % 3;
    const std::int64_t start = even_widths ? step * (random() % 2) : random() % 4;
    return make_tensor(dtype, dims, random() % 2 != 0, pad, start, random);
  };
  c.x = tensor(p.dtype, sizes);
  p.x_strides = c.x.strides;
  if (random() % 2 != 0) {
    c.out = tensor(p.dtype, sizes);
    p.out_strides = c.out.strides;
    if (random() % 4 == 0) p.x_strides.batch = p.x_strides.head = 0;  // expanded
  } else {
    p.out_strides = p.x_strides;
  }

  const bool ids = random() % 2 != 0;
  const std::int64_t rows = ids ? pick(random, {1, 4, 20}) : p.seq;
  const bool per_head = random() % 4 == 0;
  const bool per_batch = !ids && random() % 3 == 0;
  const auto table = [&](Tensor& owner, core::RopeTable& to) {
    owner = tensor(static_cast<DType>(random() % 4), {p.batch, rows, p.groups, p.heads, p.pairs});
    to.dtype = owner.dtype;
    to.strides = owner.strides;
    if (!per_batch) to.strides.batch = 0;
    if (!per_head) to.strides.group = to.strides.head = 0;
  };
  table(c.cos, p.cos);
  table(c.sin, p.sin);
  if (ids) {
    p.ids.is_int64 = random() % 2 != 0;
    p.ids.seq_stride = pick(random, {1, 2});
    p.ids.batch_stride = pick(random, {0, p.seq * p.ids.seq_stride});
    p.ids.rows = rows;
    c.ids.resize(2 * p.batch * p.seq);
    for (std::int64_t b = 0; b < p.batch; ++b) {
      for (std::int64_t s = 0; s < p.seq; ++s) {
        set_id(c, b, s, static_cast<std::int64_t>(random() % (rows + 1)) - 1);
      }
    }
  }
  return c;
}

// Points the parameters at the buffers of this very object.
inline void connect(Case& c) {
  RopeParams& p = c.params;
  p.x = c.x.data();
  p.out = c.out.storage.empty() ? c.x.data() : c.out.data();
  p.cos.data = c.cos.data();
  p.sin.data = c.sin.data();
  if (!c.ids.empty()) p.ids.data = c.ids.data();
}

template <class T>
void rotate_plainly(const RopeParams& p) {
  using A = typename core::Arithmetic<T>::type;
  const T* x = static_cast<const T*>(p.x);
  T* out = static_cast<T*>(p.out);
  const auto at = [](const RopeStrides& s, std::int64_t b, std::int64_t t, std::int64_t g,
                     std::int64_t h, std::int64_t c) {
    return b * s.batch + t * s.seq + g * s.group + h * s.head + c * s.channel;
  };
  for (std::int64_t b = 0; b < p.batch; ++b) {
    for (std::int64_t s = 0; s < p.seq; ++s) {
      const std::int64_t row = p.ids.data != nullptr ? read_id(p, b, s) : s;
      for (std::int64_t g = 0; g < p.groups; ++g) {
        for (std::int64_t h = 0; h < p.heads; ++h) {
          std::vector<T> y(p.head_dim);
          for (std::int64_t c = 0; c < p.head_dim; ++c) y[c] = x[at(p.x_strides, b, s, g, h, c)];
          const bool turns = row != -1 && g * p.heads + h < p.rotated_heads;
          for (std::int64_t i = 0; turns && i < p.pairs; ++i) {
            T& first = y[p.offset + (p.interleaved ? 2 * i : i)];
            T& second = y[p.offset + (p.interleaved ? 2 * i + 1 : p.pairs + i)];
            const A cos =
                core::load_as<A>(p.cos.data, p.cos.dtype, at(p.cos.strides, b, row, g, h, i));
            const A sin =
                core::load_as<A>(p.sin.data, p.sin.dtype, at(p.sin.strides, b, row, g, h, i));
            A y1, y2;
            core::rotate_pair<A>(core::widen(first), core::widen(second), cos, p.conj ? -sin : sin,
                                 y1, y2);
            core::narrow(y1, first);
            core::narrow(y2, second);
          }
          for (std::int64_t c = 0; c < p.head_dim; ++c) {
            out[at(p.out_strides, b, s, g, h, c)] = y[c];
          }
        }
      }
    }
  }
}

inline void rotate_plainly(const RopeParams& p) {
  switch (p.dtype) {
    case DType::kFloat32:
      return rotate_plainly<float>(p);
    case DType::kFloat64:
      return rotate_plainly<double>(p);
    case DType::kBFloat16:
      return rotate_plainly<core::BFloat16>(p);
    default:
      return rotate_plainly<core::Float16>(p);
  }
}

// Equal bits, or both NaN.
template <class T>
bool same_elements(const Buffer& a, const Buffer& b) {
  const T* left = reinterpret_cast<const T*>(a.data());
  const T* right = reinterpret_cast<const T*>(b.data());
  for (std::size_t i = 0; i < a.size() * sizeof(a[0]) / sizeof(T); ++i) {
    const auto x = core::widen(left[i]);
    const auto y = core::widen(right[i]);
    const bool same_bits = std::memcmp(left + i, right + i, sizeof(T)) == 0;
    if (!same_bits && !(x != x && y != y)) return false;
  }
  return a.size() == b.size();
}

inline bool same(DType dtype, const Buffer& a, const Buffer& b) {
  switch (dtype) {
    case DType::kFloat32:
      return same_elements<float>(a, b);
    case DType::kFloat64:
      return same_elements<double>(a, b);
    case DType::kBFloat16:
      return same_elements<core::BFloat16>(a, b);
    default:
      return same_elements<core::Float16>(a, b);
  }
}

}  // namespace roformer_ext::rope_cases
