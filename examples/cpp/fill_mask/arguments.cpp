// getopt_long divides the words; what they mean is checked here.
#include "arguments.h"

#include <getopt.h>

#include <array>
#include <charconv>
#include <string_view>

#include "errors.h"

namespace fill_mask {

const char* const kHelp =
    R"(usage: fill_mask MODEL [OPTION...] < LINES

Reads lines that contain [MASK], or what the vocabulary writes for it, and prints each with its
masks filled, and the most probable tokens of every mask.

MODEL           a checkpoint directory, such as runs/mlm/rotary, or a package of scripts/export.py
                (*.pt2), which needs --vocab
--vocab FOLDER  where vocab.txt (and tokenizer_config.json) or vocab.json is, if not in MODEL
--batch N       lines that go through the model together (default: 16)
--threads N     default: one for each core
--dtype NAME    float32 or bf16: weights and activations (default: float32; a package has its own)
--top-k N       tokens shown for each mask (default: 5)
--max-length N  tokens in the longest line that is answered (default: max_position_embeddings of
                MODEL's config.json; a package has no limit). RoFormer reads longer ones, too, but
                has not been trained on them.
--tokens        show the tokens of each line and their ids instead of answers
--help

A line without an answer is named on standard error, and the others are answered. The status is 0,
1 when a line had no answer, 2 when nothing could be done.
)";

namespace {

std::int64_t positive(const char* name, std::string_view word) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(word.begin(), word.end(), number);
  if (error != std::errc() || end != word.end() || number < 1 || number > INT32_MAX) {
    throw Refusal(std::string("--") + name + " must be a number from 1 on, got '" +
                  std::string(word) + "'");
  }
  return number;
}

at::ScalarType dtype(std::string_view word) {
  if (word == "float32") return at::kFloat;
  if (word == "bf16") return at::kBFloat16;
  throw Refusal("--dtype must be float32 or bf16, got '" + std::string(word) + "'");
}

}  // namespace

Arguments parse_arguments(int count, char** words) {
  Arguments arguments;
  const std::array<option, 9> options{{{"vocab", required_argument, nullptr, 'v'},
                                       {"batch", required_argument, nullptr, 'b'},
                                       {"threads", required_argument, nullptr, 't'},
                                       {"dtype", required_argument, nullptr, 'd'},
                                       {"top-k", required_argument, nullptr, 'k'},
                                       {"max-length", required_argument, nullptr, 'm'},
                                       {"tokens", no_argument, nullptr, 's'},
                                       {"help", no_argument, nullptr, 'h'},
                                       {}}};
  opterr = 0;
  int place = 0;
  // The colon: an option without its value is told from an unknown one.
  for (int which; (which = getopt_long(count, words, ":h", options.data(), &place)) != -1;) {
    const char* name = options.at(static_cast<std::size_t>(place)).name;
    switch (which) {
      case 'v':
        arguments.vocab = optarg;
        break;
      case 'b':
        arguments.batch = positive(name, optarg);
        break;
      case 't':
        arguments.threads = positive(name, optarg);
        break;
      case 'd':
        arguments.dtype = dtype(optarg);
        break;
      case 'k':
        arguments.top_k = positive(name, optarg);
        break;
      case 'm':
        arguments.max_length = positive(name, optarg);
        break;
      case 's':
        arguments.tokens = true;
        break;
      case 'h':
        arguments.help = true;
        return arguments;
      case ':':
        throw Refusal(std::string(words[optind - 1]) + " needs a value; try --help");
      default:
        // getopt names a letter; a long option it has read past.
        throw Refusal("unknown option " +
                      (optopt > 0 ? std::string{'-', static_cast<char>(optopt)}
                                  : std::string(words[optind - 1])) +
                      "; try --help");
    }
  }
  if (count - optind != 1) {
    throw Refusal("wanted one MODEL, got " + std::to_string(count - optind) + "; try --help");
  }
  arguments.model = words[optind];
  return arguments;
}

}  // namespace fill_mask
