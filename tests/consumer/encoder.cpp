// Loads the encoder from C++ as an application does: one public header and LibTorch.
//
// The one idea: a checkpoint directory, given on the command line, becomes a model that reads
// padding right and learns. The program prints one line per check and returns the number of
// failures.

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <roformer_ext/encoder.h>
#include <torch/optim/adamw.h>

#include <cstdio>
#include <stdexcept>

namespace {

using roformer_ext::nn::RoFormerForMaskedLM;

int failures = 0;

void check(bool passed, const char* what) {
  std::printf("%s %s\n", passed ? "ok    " : "FAILED", what);
  failures += passed ? 0 : 1;
}

void check_padding(RoFormerForMaskedLM& model) {
  const c10::InferenceMode guard;
  const auto ids = at::arange(1, 5, at::kLong).unsqueeze(0);
  const auto padded = at::constant_pad_nd(ids, {0, 2});
  const auto logits = model->forward(ids).logits;
  const auto more = model->forward(padded, padded.ne(0)).logits;
  check(logits.size(2) == model->config().vocab_size, "logits are as wide as the vocabulary");
  check(at::allclose(more.slice(1, 0, 4), logits, 1e-4, 1e-5), "padding changes nothing");
}

void check_training(RoFormerForMaskedLM& model) {
  model->train();
  torch::optim::AdamW optimizer(model->parameters(), torch::optim::AdamWOptions(1e-2));
  const auto ids = at::arange(1, 5, at::kLong).unsqueeze(0);
  double first = 0, last = 0;
  for (int step = 0; step < 20; ++step) {
    optimizer.zero_grad();
    const auto loss = model->forward(ids, {}, {}, ids).loss;
    loss.backward();
    optimizer.step();
    last = loss.item<double>();
    if (step == 0) first = last;
  }
  check(last < 0.5 * first, "twenty steps halve the loss");
}

void check_refusal() {
  bool refused = false;
  try {
    RoFormerForMaskedLM::from_pretrained("/nowhere");
  } catch (const std::runtime_error&) {
    refused = true;
  }
  check(refused, "a directory that is not there is refused");
}

}  // namespace

int main(int argc, char* argv[]) {
  if (argc != 2) {
    std::printf("usage: encoder_consumer DIRECTORY, of config.json and model.safetensors\n");
    return 1;
  }
  auto model = RoFormerForMaskedLM::from_pretrained(argv[1]);
  check_padding(model);
  check_training(model);
  check_refusal();
  return failures;
}
