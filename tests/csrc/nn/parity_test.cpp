// The C++ models against the Python ones: outputs, losses of three optimiser steps, and the names
// and values of all parameters after them.
//
// The idea: every folder that write_checkpoints.py has written is one case, its name says which
// head. What must stay true: float32 to 1e-5 and float64 to 1e-9, with and without gradients.
#include <roformer_ext/encoder.h>
#include <torch/optim/adamw.h>

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "catch.h"
#include "expected.h"

namespace {

using namespace roformer_ext::nn;           // NOLINT(google-build-using-namespace)
using namespace roformer_ext::nn::testing;  // NOLINT(google-build-using-namespace)
using at::Tensor;

ModelOutput forward(RoFormerModel& model, const Expected& expected) {
  return model->forward(expected.at("input.input_ids"), expected.mask(),
                        expected.find("input.token_type_ids"), expected.find("input.position_ids"));
}

template <class Head>
ModelOutput forward(Head& model, const Expected& expected) {
  return model->forward(expected.at("input.input_ids"), expected.mask(),
                        expected.find("input.token_type_ids"), expected.find("input.labels"),
                        expected.find("input.position_ids"));
}

double distance(const Tensor& one, const Tensor& other) {
  REQUIRE(one.sizes() == other.sizes());
  return one.sub(other).abs().max().item<double>();
}

// Compares every output that the script has written under `prefix`; their number.
std::size_t check_outputs(const ModelOutput& got, const Expected& expected,
                          const std::string& prefix, double tolerance) {
  const std::map<std::string, Tensor> fields{{"last_hidden_state", got.last_hidden_state},
                                             {"pooler_output", got.pooler_output},
                                             {"logits", got.logits},
                                             {"loss", got.loss}};
  const auto wanted = expected.under(prefix);
  for (const auto& [name, value] : wanted) {
    INFO(prefix << name);
    REQUIRE(fields.at(name).defined());
    CHECK(fields.at(name).scalar_type() == value.scalar_type());
    CHECK(distance(fields.at(name), value) <= tolerance);
  }
  return wanted.size();
}

template <class Holder>
void check_training(Holder& model, const Expected& expected) {
  torch::optim::AdamW optimizer(model->parameters(),
                                torch::optim::AdamWOptions(1e-2).eps(1e-4).weight_decay(0.1));
  model->train();
  for (int step = 0; step < 3; ++step) {
    optimizer.zero_grad();
    const ModelOutput output = forward(model, expected);
    CHECK(distance(output.loss.detach(), expected.at("train.losses")[step]) <= 1e-5);
    output.loss.backward();
    optimizer.step();
  }
  const auto wanted = expected.under("after.");
  std::set<std::string> names;
  for (const auto& parameter : model->named_parameters()) {
    INFO(parameter.key());
    names.insert(parameter.key());
    REQUIRE(wanted.contains(parameter.key()));
    CHECK(distance(parameter.value().detach(), wanted.at(parameter.key())) <= 1e-5);
  }
  CHECK(names.size() == wanted.size());
}

template <class Holder>
void check_case(const std::string& directory) {
  const Expected expected(directory);
  Holder model = Holder::from_pretrained(directory);
  CHECK_FALSE(model->is_training());
  {
    const c10::InferenceMode guard;
    CHECK(check_outputs(forward(model, expected), expected, "eval.", 1e-5) > 0);
  }
  check_outputs(forward(model, expected), expected, "eval.", 1e-5);
  model->to(torch::kFloat64);
  {
    const at::NoGradGuard guard;
    check_outputs(forward(model, expected), expected, "double.", 1e-9);
  }
  model->to(torch::kFloat32);
  if (expected.find("train.losses")) check_training(model, expected);
}

TEST_CASE("every checkpoint computes and trains as in Python", "[nn]") {
  int cases = 0;
  for (const auto& entry : std::filesystem::directory_iterator(checkpoints())) {
    const std::string name = entry.path().filename().string();
    INFO(name);
    ++cases;
    if (name.starts_with("model_")) {
      check_case<RoFormerModel>(entry.path().string());
    } else if (name.starts_with("masked_lm_")) {
      check_case<RoFormerForMaskedLM>(entry.path().string());
    } else {
      check_case<RoFormerForSequenceClassification>(entry.path().string());
    }
  }
  CHECK(cases >= 30);
}

}  // namespace
