// fill_mask: lines with [MASK] in, filled lines with probabilities out, without Python.
//
// The idea: the program is a filter. It answers a block of lines as soon as it has one, counts what
// it did, and says so on standard error at the end.

#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>
#include <c10/util/Exception.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <exception>
#include <iostream>

#include "arguments.h"
#include "filler.h"
#include "lines.h"

namespace {

constexpr std::size_t kBatchesInBlock = 16;

int run(int count, char** words) {
  const auto begin = std::chrono::steady_clock::now();
  const auto arguments = fill_mask::parse_arguments(count, words);
  if (arguments.help) {
    std::cout << fill_mask::kHelp;
    return 0;
  }
  if (arguments.threads) at::set_num_threads(static_cast<int>(*arguments.threads));
  const c10::InferenceMode guard;
  fill_mask::Filler filler(arguments);
  const std::chrono::duration<double> opened = std::chrono::steady_clock::now() - begin;

  const auto most = kBatchesInBlock * static_cast<std::size_t>(arguments.batch);
  fill_mask::Lines lines(STDIN_FILENO);
  for (auto block = lines.block(most); !block.empty(); block = lines.block(most)) {
    filler.answer(block);
  }
  const fill_mask::Work& work = filler.work();
  std::fprintf(
      stderr, "fill_mask: opened in %.2f s; %ld lines, %ld tokens in %.2f s, %.0f tokens/s\n",
      opened.count(), static_cast<long>(work.answered), static_cast<long>(work.tokens),
      work.seconds, work.seconds > 0 ? static_cast<double>(work.tokens) / work.seconds : 0);
  return work.refused == 0 ? 0 : 1;
}

}  // namespace

int main(int count, char** words) {
  std::ios::sync_with_stdio(false);
  try {
    return run(count, words);
  } catch (const c10::Error& error) {
    std::cerr << "fill_mask: " << error.what_without_backtrace() << '\n';
  } catch (const std::exception& error) {
    std::cerr << "fill_mask: " << error.what() << '\n';
  }
  return 2;
}
