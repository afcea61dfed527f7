// Batches without padding: how the tokens of several sequences lie in one row, and the way there
// and back.
//
// The idea: as roformer_ext/packing.py has it, padding is dropped once, before the embedding, and
// whatever a head wants is brought along by `pack` and taken back by `pad`. What must stay true:
// nothing that somebody reads is dropped, and a sequence does not depend on the others.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <vector>

namespace roformer_ext::nn {

// The tokens of a batch [B, S], T of them, in one row [1, T].
struct Packing {
  std::vector<std::int64_t> lengths;  // tokens of each sequence that has any
  at::Tensor places;                  // [T], int64: where of the B * S places each token stood
  std::int64_t batch, seq;

  // [B, S, ...], or [S] or [1, S] for all, to [1, T, ...].
  at::Tensor pack(const at::Tensor& x) const;
  // [1, T, ...] to [B, S, ...], zero on padding.
  at::Tensor pad(const at::Tensor& x) const;
  // [1, T, ...] to [n, ...]: the first token of each sequence.
  at::Tensor first(const at::Tensor& x) const;
};

// What is read of the result, padding or not.
struct Reads {
  std::optional<at::Tensor> targets = {};  // [B, S]: the places whose target is not kIgnored
  bool first = false;                      // the first place of every row
};

// The packing of a batch of `shape` [B, S], padded as `mask` says; nothing where it had better
// stay.
//
// mask: as in encoder.h, or nothing; one of another shape says no padding, whatever it says else.
// unpad: true drops any padding, and c10::Error says what stands against it; false none. When not
//   given, padding on the CPU is dropped where it is at least a tenth of the batch and nothing on
//   it is read; elsewhere nothing is, because kernels for every sequence cost a launch each.
std::optional<Packing> drop_padding(const std::optional<at::Tensor>& mask, at::IntArrayRef shape,
                                    std::optional<bool> unpad, const Reads& reads);

}  // namespace roformer_ext::nn
