// Runs an AOTInductor package of scripts/export.py from C++, without Python.
//
//   package MODEL.pt2 BATCH LENGTH OUT
//
// The inputs are those of an exported head: ids that count up from 0, a mask of ones, types of 0.
// The first result goes to OUT as raw float32. Nothing of ours is called here: a package that holds
// the operator finds it because the program was linked to it, and a decomposed one needs no such
// link.

#include <ATen/ATen.h>
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>

#include <cstdint>
#include <cstdio>
#include <exception>
#include <fstream>
#include <string>

namespace {

void run(const std::string& package, std::int64_t batch, std::int64_t length,
         const std::string& out) {
  torch::inductor::AOTIModelPackageLoader loader(package);
  const auto ids = at::arange(batch * length, at::kLong).view({batch, length});
  const auto results = loader.run({ids, at::ones_like(ids), at::zeros_like(ids)});
  const auto first = results.at(0).to(at::kFloat).contiguous();
  std::ofstream(out, std::ios::binary)
      .write(static_cast<const char*>(first.const_data_ptr()),
             static_cast<std::streamsize>(first.nbytes()));
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 5) {
    std::fprintf(stderr, "usage: package MODEL.pt2 BATCH LENGTH OUT\n");
    return 2;
  }
  try {
    run(arguments[1], std::stoll(arguments[2]), std::stoll(arguments[3]), arguments[4]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "package: %s\n", error.what());
    return 1;
  }
  return 0;
}
