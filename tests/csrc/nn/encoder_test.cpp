// What parity does not show: fresh models, conversions, inference mode, torch's own files, and
// every refusal by name.
#include <roformer_ext/encoder.h>
#include <torch/optim/sgd.h>
#include <torch/serialize.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "catch.h"
#include "expected.h"

namespace {

using namespace roformer_ext::nn;           // NOLINT(google-build-using-namespace)
using namespace roformer_ext::nn::testing;  // NOLINT(google-build-using-namespace)
using at::Tensor;
using roformer_ext::RoFormerConfig;
using roformer_ext::testing::contains;

RoFormerConfig small() {
  RoFormerConfig config;
  config.vocab_size = 11;
  config.hidden_size = 8;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 2;
  config.intermediate_size = 12;
  return config;
}

Tensor tokens() { return at::arange(1, 9, at::kLong).view({2, 4}); }

std::string directory(const std::string& name) { return checkpoints() + "/" + name; }

// A copy of a checkpoint's folder in which one file says something else.
class Changed {
 public:
  Changed(const std::string& name, const std::string& file, const std::string& content)
      : path_(std::filesystem::temp_directory_path() / ("roformer_ext_nn_" + name)) {
    remove();
    std::filesystem::copy(directory(name), path_);
    std::ofstream(path_ / file, std::ios::binary) << content;
  }
  ~Changed() { remove(); }
  Changed(const Changed&) = delete;
  Changed& operator=(const Changed&) = delete;
  std::string path() const { return path_.string(); }

 private:
  // Not remove_all: libtorch 2.11 exports one that lacks what it calls.
  void remove() const {
    if (!std::filesystem::exists(path_)) return;
    for (const auto& file : std::filesystem::directory_iterator(path_)) {
      std::filesystem::remove(file.path());
    }
    std::filesystem::remove(path_);
  }

  std::filesystem::path path_;
};

TEST_CASE("a fresh model starts as the configuration says and learns", "[nn]") {
  at::manual_seed(1);
  RoFormerForMaskedLM model(small());
  CHECK(model->is_training());
  for (const auto& parameter : model->named_parameters()) {
    INFO(parameter.key());
    const Tensor value = parameter.value().detach();
    if (parameter.key().ends_with("bias")) CHECK(value.abs().max().item<float>() == 0.0F);
    if (parameter.key().ends_with("LayerNorm.weight"))
      CHECK(at::equal(value, at::ones(value.sizes())));
    if (value.dim() == 2 && value.numel() > 80) CHECK(value.std().item<float>() < 0.03F);
  }
  const Tensor words = model->named_parameters()["roformer.embeddings.word_embeddings.weight"];
  CHECK(words.select(0, 0).abs().max().item<float>() == 0.0F);

  torch::optim::SGD optimizer(model->parameters(), 0.5);
  double first = 0, last = 0;
  for (int step = 0; step < 30; ++step) {
    optimizer.zero_grad();
    const Tensor loss = model->forward(tokens(), {}, {}, tokens()).loss;
    loss.backward();
    optimizer.step();
    last = loss.item<double>();
    if (step == 0) first = last;
  }
  CHECK(last < 0.7 * first);
}

TEST_CASE("logits are left out in training with labels", "[nn]") {
  RoFormerForMaskedLM model(small());
  CHECK_FALSE(model->forward(tokens(), {}, {}, tokens()).logits.defined());
  CHECK(model->forward(tokens()).logits.sizes() == at::IntArrayRef({2, 4, 11}));
  model->eval();
  CHECK(model->forward(tokens(), {}, {}, tokens()).logits.defined());
  CHECK_FALSE(model->forward(tokens()).loss.defined());
  const Tensor none = at::full({2, 4}, -100, at::kLong);
  CHECK(std::isnan(model->forward(tokens(), {}, {}, none).loss.item<float>()));
}

TEST_CASE("the two parts give the logits of few positions", "[nn]") {
  auto model = RoFormerForMaskedLM::from_pretrained(directory("masked_lm_v1"));
  const Tensor mask = at::tensor({1, 1, 1, 0, 1, 1, 1, 1}, at::kLong).view({2, 4});
  const Tensor wanted = tokens().eq(2).logical_or(tokens().ge(7));
  const Tensor hidden = model->roformer()->forward(tokens(), mask).last_hidden_state;
  const Tensor logits = model->logits_of(hidden.index({wanted}));
  CHECK(logits.size(0) == 3);
  CHECK(at::allclose(logits, model->forward(tokens(), mask).logits.index({wanted}), 1e-5, 1e-6));
  CHECK_THROWS_WITH(model->logits_of(logits.narrow(1, 0, 1)), contains("hidden must be [..., "));
  CHECK_THROWS_WITH(model->logits_of(Tensor()), contains("got no tensor"));
}

TEST_CASE("padding may be dropped by will", "[nn]") {
  auto model = RoFormerForMaskedLM::from_pretrained(directory("masked_lm_v1"));
  const Tensor thin = at::ones({2, 16}, at::kInt);
  thin[1][15] = 0;
  const Tensor ids = at::arange(32, at::kLong).remainder(19).view({2, 16});
  const auto logits = [&](std::optional<bool> unpad, const Tensor& labels = {}) {
    return model->forward(ids, thin, {}, labels, {}, unpad).logits;
  };
  const Tensor kept = logits(false), dropped = logits(true);
  CHECK(at::equal(logits({}), kept));
  CHECK(kept[1][15].abs().max().item<float>() > 0.0F);
  CHECK(dropped[1][15].abs().max().item<float>() == 0.0F);
  CHECK(at::allclose(dropped.index({thin.ne(0)}), kept.index({thin.ne(0)}), 1e-5, 1e-5));
  CHECK_THROWS_WITH(logits(true, ids),
                    contains("unpad must not be true where a label stands on padding"));
  CHECK_THROWS_WITH(model->forward(ids, at::ones({2, 1, 16, 16}, at::kBool), {}, {}, {}, true),
                    contains("unpad must not be true with an attention_mask of shape"));
  const Tensor tenth = at::ones({2, 5}, at::kInt);
  tenth[0][4] = 0;
  const Tensor few = ids.slice(1, 0, 5);
  CHECK(model->forward(few, tenth).logits[0][4].abs().max().item<float>() == 0.0F);
  const Tensor none = at::zeros_like(thin);
  CHECK_THROWS_WITH(model->forward(ids, none, {}, ids, {}, true), contains("a label stands on"));
  CHECK(at::equal(model->forward(ids, none, {}, {}, {}, true).logits,
                  model->forward(ids, none, {}, {}, {}, false).logits));

  auto classifier =
      RoFormerForSequenceClassification::from_pretrained(directory("classifier_classes"));
  const Tensor left = thin.flip({1});
  CHECK_THROWS_WITH(classifier->forward(ids, left, {}, {}, {}, true),
                    contains("where the first token of a sequence stands on padding"));
  CHECK(at::allclose(classifier->forward(ids, thin, {}, {}, {}, true).logits,
                     classifier->forward(ids, thin, {}, {}, {}, false).logits, 1e-5, 1e-5));
}

TEST_CASE("a feed-forward in pieces computes what it does in one", "[nn]") {
  RoFormerConfig config = small();
  config.intermediate_size = 4096;  // times 1300 tokens: two pieces of at most 16 MiB
  RoFormerModel model(config);
  model->eval();
  const Tensor ids = at::arange(1300, at::kLong).remainder(11).view({2, 650});
  const Tensor recorded = model->forward(ids).last_hidden_state;
  const c10::InferenceMode guard;
  CHECK(at::allclose(model->forward(ids).last_hidden_state, recorded.detach(), 1e-5, 1e-6));
}

TEST_CASE("int32 ids and absent tensors are understood", "[nn]") {
  RoFormerModel model(small());
  model->eval();
  const Tensor hidden = model->forward(tokens()).last_hidden_state;
  CHECK(at::equal(model->forward(tokens().to(at::kInt), Tensor()).last_hidden_state, hidden));
  const Tensor positions = at::arange(4, at::kInt);
  CHECK(at::allclose(model->forward(tokens(), {}, {}, positions).last_hidden_state, hidden));
  CHECK(at::allclose(model->forward(tokens(), {}, {}, positions + 50'000).last_hidden_state, hidden,
                     1e-4, 1e-5));
}

TEST_CASE("projections give the same side by side and apart", "[nn]") {
  RoFormerModel model(small());
  model->eval();
  const Tensor recorded = model->forward(tokens()).last_hidden_state;
  const c10::InferenceMode guard;
  CHECK(at::equal(model->forward(tokens()).last_hidden_state, recorded.detach()));
  for (const auto& parameter : model->named_parameters()) {
    Tensor handle = parameter.value();
    const c10::InferenceMode normal(false);
    handle.set_data(handle.detach().clone());
  }
  CHECK(at::equal(model->forward(tokens()).last_hidden_state, recorded.detach()));
}

TEST_CASE("a model loaded in inference mode can be trained", "[nn]") {
  RoFormerForMaskedLM model(nullptr);
  {
    const c10::InferenceMode guard;
    model = RoFormerForMaskedLM::from_pretrained(directory("masked_lm_v1"));
  }
  model->train();
  model->forward(tokens(), {}, {}, tokens()).loss.backward();
  for (const auto& parameter : model->named_parameters()) {
    INFO(parameter.key());
    CHECK(parameter.value().grad().defined());
  }
}

TEST_CASE("bfloat16 models run", "[nn]") {
  auto model = RoFormerForMaskedLM::from_pretrained(directory("masked_lm_bfloat16"));
  const Tensor exact = model->forward(tokens()).logits;
  model->to(torch::kBFloat16);
  const Tensor logits = model->forward(tokens(), at::ones({2, 4}, at::kBool)).logits;
  CHECK(logits.scalar_type() == at::kBFloat16);
  CHECK(at::allclose(logits.to(at::kFloat), exact, 0.1, 0.3));
}

TEST_CASE("torch's own files keep a model", "[nn]") {
  RoFormerForSequenceClassification one(small()), other(small());
  one->eval();
  other->eval();
  std::stringstream file;
  torch::save(one, file);
  torch::load(other, file);
  CHECK(at::equal(one->forward(tokens()).logits, other->forward(tokens()).logits));
}

TEST_CASE("a body loads from the directory of any head", "[nn]") {
  auto head = RoFormerForMaskedLM::from_pretrained(directory("masked_lm_v2"));
  auto body = RoFormerModel::from_pretrained(directory("masked_lm_v2"));
  CHECK(at::equal(head->forward(tokens()).last_hidden_state,
                  body->forward(tokens()).last_hidden_state));
}

TEST_CASE("directories that do not fit are refused", "[nn]") {
  const auto masked = [](const std::string& path) { RoFormerForMaskedLM::from_pretrained(path); };
  CHECK_THROWS_WITH(masked("/nowhere"), contains("directory must hold model.safetensors"));
  CHECK_THROWS_WITH(masked(directory("classifier_classes")),
                    contains("must hold 'cls.predictions"));
  CHECK_THROWS_WITH(RoFormerForSequenceClassification::from_pretrained(directory("masked_lm_v1")),
                    contains("'classifier.dense.weight' of shape [16, 16], got no such tensor"));
  CHECK_THROWS_AS(masked(directory("classifier_classes")), std::runtime_error);

  const std::string name = "masked_lm_plain";
  const auto with = [&](const std::string& config) {
    const Changed changed(name, "config.json", config);
    masked(changed.path());
  };
  CHECK_THROWS_WITH(with(R"({"hidden_act": "guess", "num_attention_heads": 2})"),
                    contains("config.json: an activation must be one of gelu"));
  CHECK_THROWS_WITH(with(R"({"attention": "linear"})"), contains("attention must be 'softmax'"));
  CHECK_THROWS_WITH(with(R"({"rope_theta": 10, "num_attention_heads": 2})"),
                    contains("'encoder.embed_positions.weight' as [sin | cos]"));
  CHECK_THROWS_WITH(with(R"({"use_bias": false})"), contains("in addition"));
  CHECK_THROWS_WITH(with(R"({"num_labels": 1, "vocab_size": 20})"), contains("vocab_size must be"));
  const Changed damaged(name, "model.safetensors", "nothing of the kind");
  CHECK_THROWS_WITH(masked(damaged.path()), contains("must hold its header"));
}

TEST_CASE("configurations without a C++ form are refused", "[nn]") {
  RoFormerConfig config = small();
  config.num_attention_heads = 3;
  CHECK_THROWS_WITH(RoFormerModel(config), contains("num_attention_heads must divide"));
  config = small();
  config.add_cross_attention = true;
  CHECK_THROWS_AS(RoFormerModel(config), std::invalid_argument);
  config = small();
  config.pooler_activation = "guess";
  CHECK_THROWS_WITH(RoFormerModel(config), contains("must be one of"));
}

TEST_CASE("arguments that do not fit are named", "[nn]") {
  RoFormerForMaskedLM model(small());
  const Tensor one = at::ones({2, 3}, at::kLong);
  CHECK_THROWS_WITH(model->forward(Tensor()), contains("input_ids must be integers"));
  CHECK_THROWS_WITH(model->forward(at::rand({2, 4})), contains("input_ids must be integers"));
  CHECK_THROWS_WITH(model->forward(tokens(), one), contains("attention_mask must be"));
  CHECK_THROWS_WITH(model->forward(tokens(), at::ones({2, 3, 4, 4})), contains("4-D"));
  CHECK_THROWS_WITH(model->forward(tokens(), {}, one), contains("token_type_ids must be"));
  CHECK_THROWS_WITH(model->forward(tokens(), {}, {}, one), contains("labels must be"));
  CHECK_THROWS_WITH(model->forward(tokens(), {}, {}, {}, one), contains("position_ids must be"));
  const Tensor below = at::full({2, 4}, -2, at::kLong);
  CHECK_THROWS_WITH(model->forward(tokens(), {}, {}, {}, below), contains("position_ids"));
  RoFormerForSequenceClassification classifier(small());
  CHECK_THROWS_WITH(classifier->forward(tokens(), {}, {}, at::ones({3}, at::kLong)),
                    contains("labels must be integers [B]"));
  CHECK_THROWS_WITH(classifier->forward(tokens(), {}, {}, at::rand({2, 3})),
                    contains("labels must be [B, num_labels]"));
}

}  // namespace
