// The two forms of a model: a checkpoint directory and a compiled package.
//
// The idea: both turn ids into logits and differ in nothing else that the program asks for. What
// must stay true: a model that was opened can answer, and knows how many tokens it answers among.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace fill_mask {

class Model {
 public:
  virtual ~Model() = default;

  virtual std::int64_t vocab_size() const = 0;
  // Tokens in the longest row that it was trained for, where it says so.
  virtual std::optional<std::int64_t> max_length() const = 0;
  // input_ids and attention_mask (1 = token), both [B, S] int64, to logits [n, V] of the n places
  // where `wanted`, [B, S] bool, is true, row by row.
  virtual at::Tensor logits(const at::Tensor& input_ids, const at::Tensor& attention_mask,
                            const at::Tensor& wanted) = 0;
};

// path: a directory that `from_pretrained` reads, or the *.pt2 of scripts/export.py.
// dtype: of a directory's weights and activations, float32 when not given; rotations are computed
//   from float32 tables in any case. A package has its own.
//
// Refusal, std::runtime_error or c10::Error says in one sentence what is wrong with which file.
std::unique_ptr<Model> open_model(const std::string& path, std::optional<at::ScalarType> dtype);

}  // namespace fill_mask
