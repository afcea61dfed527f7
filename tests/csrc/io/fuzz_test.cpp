// Damaged files by the thousand: each gives its tensors or is refused, and nothing else happens.
//
// The idea: a small corpus of good and bad files is mutated by a generator of fixed seed, so that a
// failure comes again; this binary runs under AddressSanitizer and UndefinedBehaviorSanitizer. What
// must stay true: the time is bounded. ROFORMER_EXT_FUZZ_SECONDS sets it, 5 for each reader here.
#include <chrono>
#include <cstdlib>
#include <functional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "catch.h"
#include "io/config.h"
#include "io/file_error.h"
#include "io/safetensors.h"
#include "samples.h"

namespace {

using namespace roformer_ext::io;           // NOLINT(google-build-using-namespace)
using namespace roformer_ext::io::testing;  // NOLINT(google-build-using-namespace)

using Corpus = std::vector<std::string>;

constexpr int kMutations = 40'000;

// What a hostile header is made of.
const std::vector<std::string_view> kWords{"{",
                                           "}",
                                           "[",
                                           "]",
                                           ",",
                                           ":",
                                           "\"",
                                           "null",
                                           "true",
                                           "-1",
                                           "0",
                                           "9223372036854775807",
                                           "18446744073709551615",
                                           "18446744073709551616",
                                           "1e400",
                                           "\\u0000",
                                           "\"shape\"",
                                           "\"dtype\"",
                                           "\"data_offsets\"",
                                           "\"F64\"",
                                           "__metadata__",
                                           "\xff",
                                           std::string_view("\0", 1)};

Corpus safetensors_corpus() {
  return {
      valid_file(),
      file_of("{}", 0),
      file_of("{" + entry("w", "F64", "[2,0]", "[0,0]") + "}", 0),
      file_of("{" + entry("a", "U8", "[4]", "[0,4]") + "," + entry("b", "U8", "[4]", "[4,8]") + "}",
              8),
      file_of("{" + entry("a", "U8", "[4]", "[0,4]") + "," + entry("b", "U8", "[4]", "[2,6]") + "}",
              6),
      std::string(16, '\xff')};
}

Corpus config_corpus() {
  return {R"({"model_type":"roformer","hidden_size":8,"num_attention_heads":2,"vocab_size":9})",
          R"({"id2label":{"0":"a","1":"b"},"rope_parameters":{"rope_type":"linear","factor":2}})",
          R"({"pad_token_id":null,"embedding_size":null,"hidden_act":"relu","use_bias":false})",
          R"({"layer_norm_eps":1e-12,"hidden_dropout_prob":0.5,"norm_type":"rms_norm"})"};
}

class Mutator {
 public:
  explicit Mutator(const Corpus& corpus) : corpus_(corpus) {}

  std::string next() {
    std::string file = corpus_[below(corpus_.size())];
    for (std::size_t left = 1 + below(4); left > 0; --left) change(file);
    return file;
  }

 private:
  std::size_t below(std::size_t limit) { return generator_() % limit; }

  void change(std::string& file) {
    const std::size_t at = below(file.size() + 1);
    const std::size_t some = below(file.size() - at + 1);
    const std::string& other = corpus_[below(corpus_.size())];
    switch (below(6)) {
      case 0:
        if (at < file.size()) file[at] = static_cast<char>(file[at] ^ (1 << below(8)));
        break;
      case 1:
        if (at < file.size()) file[at] = static_cast<char>(generator_());
        break;
      case 2:
        file.erase(at, some % 16);
        break;
      case 3:
        file.insert(at, kWords[below(kWords.size())]);
        break;
      case 4:
        file.insert(at, file.substr(at, some % 64));
        break;
      default:
        file.replace(at, some % 32, other, below(other.size()), 1 + below(32));
    }
  }

  const Corpus& corpus_;
  std::mt19937_64 generator_{20210420};
};

double seconds() {
  const char* text = std::getenv("ROFORMER_EXT_FUZZ_SECONDS");
  return text == nullptr ? 5.0 : std::strtod(text, nullptr);
}

// Runs `read` on mutations until their number or the time is used up; the share that was accepted.
double accepted_share(const Corpus& corpus, const std::function<void(const std::string&)>& read) {
  using Clock = std::chrono::steady_clock;
  const auto end = Clock::now() + std::chrono::duration<double>(seconds());
  const bool endless = std::getenv("ROFORMER_EXT_FUZZ_SECONDS") != nullptr;
  Mutator mutator(corpus);
  int tried = 0, accepted = 0;
  for (; (endless || tried < kMutations) && Clock::now() < end; ++tried) {
    const std::string file = mutator.next();
    try {
      read(file);
      ++accepted;
    } catch (const FileError& error) {
      const std::string_view message = error.what();
      if (!message.starts_with("x.") || message.find('\n') != message.npos) {
        FAIL("an unclear refusal: " << message);
      }
    }
  }
  REQUIRE(tried > 0);
  return accepted / static_cast<double>(tried);
}

TEST_CASE("damaged safetensors are read or refused", "[io][fuzz]") {
  const double share = accepted_share(safetensors_corpus(), parse_copy);
  // Both ways are taken.
  CHECK(share > 0.001);
  CHECK(share < 0.9);
}

TEST_CASE("a damaged config.json is read or refused", "[io][fuzz]") {
  const double share = accepted_share(config_corpus(), [](const std::string& text) {
    const auto config = parse_config(text, "x.json");
    if (config.head_dim() % 2 != 0 ||
        config.head_dim() * config.num_attention_heads != config.hidden_size) {
      throw std::logic_error("heads that do not fit");
    }
  });
  CHECK(share > 0.001);
  CHECK(share < 0.9);
}

}  // namespace
