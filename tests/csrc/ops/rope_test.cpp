// The operators from C++, without Python: dispatch, derivatives, in place semantics and errors.
// What the operator computes in every layout is tested from Python; here, that a C++ program gets
// the same operator.
#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#else
#include <catch2/catch.hpp>
#endif

#include <ATen/ATen.h>
#include <roformer_ext/build_info.h>
#include <roformer_ext/ops.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/variable.h>

namespace {

using at::Tensor;
using roformer_ext::RopeOptions;

struct Table {
  Tensor cos, sin;
};

Table table(std::int64_t rows, std::int64_t pairs, at::ScalarType dtype = at::kFloat) {
  const Tensor angles =
      at::arange(rows, at::kDouble).unsqueeze(1) *
      at::pow(10000.0, -at::arange(pairs, at::kDouble) / static_cast<double>(pairs));
  return {angles.cos().to(dtype), angles.sin().to(dtype)};
}

// Half layout, [..., S, D], all channels.
Tensor expected(const Tensor& x, const Table& t) {
  const auto halves = x.chunk(2, -1);
  return at::cat({halves[0] * t.cos - halves[1] * t.sin, halves[0] * t.sin + halves[1] * t.cos},
                 -1);
}

TEST_CASE("rope and rope_ rotate", "[ops]") {
  const Table t = table(7, 16);
  const Tensor x = at::randn({2, 3, 7, 32});
  const Tensor y = roformer_ext::rope(x, t.cos, t.sin);
  CHECK(at::equal(y, expected(x, t)));
  Tensor z = x.clone();
  const Tensor returned = roformer_ext::rope_(z, t.cos, t.sin);
  CHECK(returned.is_same(z));
  CHECK(at::equal(z, y));
  CHECK(at::equal(
      roformer_ext::rope_full_width(x, at::cat({t.cos, t.cos}, -1), at::cat({t.sin, t.sin}, -1)),
      y));
}

TEST_CASE("options reach the kernel", "[ops]") {
  const Table t = table(9, 4);
  const Tensor qkv = at::randn({2, 9, 3, 2, 16});
  RopeOptions options;
  options.interleaved = true;
  options.seq_dim = 1;
  options.rotary_offset = 4;
  options.heads = 4;
  const Tensor y = roformer_ext::rope(qkv, t.cos, t.sin, {}, options);
  CHECK(at::equal(y.select(2, 2), qkv.select(2, 2)));
  CHECK(at::equal(y.slice(-1, 0, 4), qkv.slice(-1, 0, 4)));
  CHECK_FALSE(at::equal(y.slice(2, 0, 2).slice(-1, 4, 12), qkv.slice(2, 0, 2).slice(-1, 4, 12)));
  options.conj = true;
  CHECK(at::allclose(roformer_ext::rope(y, t.cos, t.sin, {}, options), qkv, 1e-5, 1e-6));
}

TEST_CASE("gradients of x are the transpose, to the second order", "[ops]") {
  const Table t = table(5, 3, at::kDouble);
  Tensor x = at::randn({2, 2, 5, 6}, at::kDouble).requires_grad_();
  Tensor weight = at::randn({2, 2, 5, 6}, at::kDouble).requires_grad_();
  const Tensor y = roformer_ext::rope(x, t.cos, t.sin);
  const auto first = torch::autograd::grad({(y * weight).sum()}, {x}, {}, true, true);
  RopeOptions conj;
  conj.conj = true;
  CHECK(at::equal(first[0], roformer_ext::rope(weight, t.cos, t.sin, {}, conj)));
  const auto second = torch::autograd::grad({first[0].square().sum()}, {weight});
  CHECK(at::allclose(second[0], 2 * weight));
}

TEST_CASE("gradients reach the tables", "[ops]") {
  Table t = table(5, 3, at::kDouble);
  t.cos.requires_grad_();
  const Tensor x = at::randn({2, 2, 5, 6}, at::kDouble);
  const Tensor ids = at::zeros({5}, at::kLong);
  const Tensor y = roformer_ext::rope(x, t.cos, t.sin, ids);
  const Tensor dcos = torch::autograd::grad({y.sum()}, {t.cos})[0];
  CHECK(at::allclose(dcos[0], x.slice(-1, 0, 3).sum(at::IntArrayRef{0, 1, 2}) +
                                  x.slice(-1, 3, 6).sum(at::IntArrayRef{0, 1, 2})));
  CHECK(at::equal(dcos.slice(0, 1), at::zeros({4, 3}, at::kDouble)));
}

TEST_CASE("in place joins the graph and moves the version", "[ops]") {
  const Table t = table(5, 3);
  Tensor leaf = at::randn({2, 2, 5, 6}).requires_grad_();
  const Tensor before = leaf.detach().clone();
  CHECK_THROWS(roformer_ext::rope_(leaf, t.cos, t.sin));
  CHECK(at::equal(leaf.detach(), before));
  Tensor x = leaf * 1;
  const auto version = x._version();
  roformer_ext::rope_(x, t.cos, t.sin);
  CHECK(x._version() == version + 1);
  CHECK(
      at::equal(torch::autograd::grad({x.sum()}, {leaf})[0],
                torch::autograd::grad({roformer_ext::rope(leaf, t.cos, t.sin).sum()}, {leaf})[0]));
}

TEST_CASE("bad input is named and nothing is written", "[ops]") {
  const Table t = table(5, 3);
  Tensor x = at::randn({2, 2, 5, 6});
  const Tensor before = x.clone();
  const Tensor ids = at::tensor({0, 1, 2, 3, 9}, at::kLong);
  CHECK_THROWS_WITH(
      roformer_ext::rope_(x, t.cos, t.sin, ids),
      Catch::Matchers::Contains("position_ids") && Catch::Matchers::Contains("9 at [4]"));
  CHECK_THROWS_WITH(roformer_ext::rope_(x, t.cos, t.cos.slice(0, 1)),
                    Catch::Matchers::Contains("sin"));
  CHECK(at::equal(x, before));
}

TEST_CASE("the build describes itself", "[ops]") {
  const roformer_ext::BuildInfo info = roformer_ext::build_info();
  CHECK(info.cpu_levels.front() == "default");
  CHECK_FALSE(info.version.empty());
}

}  // namespace
