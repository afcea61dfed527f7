// What the encoder hands to a head.
//
// The idea: a head works on hidden states in whatever layout they were computed, padded or packed,
// and brings its own tensors in and its results out by two methods. What must stay true: a head
// that uses only these methods is right in either layout.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

#include "nn/packing.h"

namespace roformer_ext::nn {

struct Encoded {
  at::Tensor hidden;               // [B, S, C], or [1, T, C] where padding was dropped
  std::optional<Packing> packing;  // how the T tokens lie

  // A user's tensor [B, S, ...] in the layout of `hidden`; nothing stays nothing.
  at::Tensor laid_out(const at::Tensor& x) const { return packing ? packing->pack(x) : x; }
  std::optional<at::Tensor> laid_out(const std::optional<at::Tensor>& x) const {
    return x ? std::optional(laid_out(*x)) : x;
  }
  // A result for each token in the layout that the user gave, zero on dropped padding.
  at::Tensor padded(const at::Tensor& x) const { return packing ? packing->pad(x) : x; }
  // [B, C], the first token of every row.
  at::Tensor first() const { return packing ? packing->first(hidden) : hidden.select(1, 0); }
};

}  // namespace roformer_ext::nn
