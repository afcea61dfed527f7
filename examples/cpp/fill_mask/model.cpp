// A package is asked for one token when it is opened: that shows what it takes and returns.
#include "model.h"

#include <ATen/ops/ones_like.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <c10/util/Exception.h>
#include <roformer_ext/encoder.h>
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>

#include <filesystem>
#include <vector>

#include "errors.h"

namespace fill_mask {
namespace {

class Checkpoint final : public Model {
 public:
  Checkpoint(const std::string& directory, at::ScalarType dtype)
      : model_(roformer_ext::nn::RoFormerForMaskedLM::from_pretrained(directory)) {
    model_->to(dtype);
  }

  std::int64_t vocab_size() const override { return model_->config().vocab_size; }

  std::optional<std::int64_t> max_length() const override {
    return model_->config().max_position_embeddings;
  }

  at::Tensor logits(const at::Tensor& input_ids, const at::Tensor& attention_mask,
                    const at::Tensor& wanted) override {
    const auto output = model_->roformer()->forward(input_ids, attention_mask);
    return model_->logits_of(output.last_hidden_state.index({wanted}));
  }

 private:
  roformer_ext::nn::RoFormerForMaskedLM model_;
};

// Takes ids, mask and token types, all int64, as scripts/export.py makes it.
class Package final : public Model {
 public:
  explicit Package(const std::string& path) : loader_(path) {
    const at::Tensor token = at::zeros({1, 1}, at::kLong);
    const at::Tensor answer = all_logits(token, at::ones_like(token));
    if (answer.dim() != 3) {
      throw Refusal(path +
                    ": must be a package of a masked language model, which gives [B, S, V], "
                    "got a result of " +
                    std::to_string(answer.dim()) + " dims");
    }
    vocab_size_ = answer.size(2);
  }

  std::int64_t vocab_size() const override { return vocab_size_; }

  std::optional<std::int64_t> max_length() const override { return {}; }

  at::Tensor logits(const at::Tensor& input_ids, const at::Tensor& attention_mask,
                    const at::Tensor& wanted) override {
    return all_logits(input_ids, attention_mask).index({wanted});
  }

 private:
  // [B, S, V]: a package is one function from ids to logits.
  at::Tensor all_logits(const at::Tensor& input_ids, const at::Tensor& attention_mask) {
    return loader_.run({input_ids, attention_mask, at::zeros_like(input_ids)}).at(0);
  }

  torch::inductor::AOTIModelPackageLoader loader_;
  std::int64_t vocab_size_ = 0;
};

}  // namespace

std::unique_ptr<Model> open_model(const std::string& path, std::optional<at::ScalarType> dtype) {
  if (!std::filesystem::exists(path)) throw Refusal(path + ": no such file or directory");
  if (std::filesystem::is_directory(path)) {
    return std::make_unique<Checkpoint>(path, dtype.value_or(at::kFloat));
  }
  if (!path.ends_with(".pt2")) {
    throw Refusal(path + ": must be the directory of a checkpoint or a *.pt2, got another file");
  }
  if (dtype) throw Refusal("--dtype is for a directory; " + path + " has that of its export");
  try {
    return std::make_unique<Package>(path);
  } catch (const c10::Error& error) {
    throw Refusal(path + ": is no package of scripts/export.py: " + error.what_without_backtrace());
  }
}

}  // namespace fill_mask
