// Calls the operators from C++ as an application does: only the public header and ATen.
//
// The one idea: each check compares the library with the two lines of the rotation written out here
// in ATen, so that a broken install tree, a missing dispatch key or a library that was not linked
// shows as a failed check. The program prints one line per check and returns the number of
// failures.

#include <ATen/ATen.h>
#include <roformer_ext/ops.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <tuple>

namespace {

int failures = 0;

void check(bool passed, const char* what) {
  std::printf("%s %s\n", passed ? "ok    " : "FAILED", what);
  failures += passed ? 0 : 1;
}

// Angles position * 10000^(-2i / head_dim) as tables [positions, head_dim / 2], float32.
std::tuple<at::Tensor, at::Tensor> tables(int64_t positions, int64_t head_dim) {
  const auto index = at::arange(0, head_dim, 2, at::kDouble);
  const auto frequency = at::exp(index * (-std::log(10000.0) / static_cast<double>(head_dim)));
  const auto angle = at::outer(at::arange(positions, at::kDouble), frequency);
  return {angle.cos().to(at::kFloat), angle.sin().to(at::kFloat)};
}

// The rotation of x [..., S, D] in the half layout, straight from its definition.
at::Tensor rotate_halves(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  const auto halves = x.chunk(2, -1);
  return at::cat({halves[0] * cos - halves[1] * sin, halves[0] * sin + halves[1] * cos}, -1);
}

// The same in the adjacent layout.
at::Tensor rotate_adjacent(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  const auto first = x.slice(-1, 0, std::nullopt, 2);
  const auto second = x.slice(-1, 1, std::nullopt, 2);
  return at::stack({first * cos - second * sin, first * sin + second * cos}, -1).flatten(-2);
}

void check_forward_and_gradient(bool interleaved) {
  const auto [cos, sin] = tables(7, 8);
  const auto rotate = interleaved ? rotate_adjacent : rotate_halves;
  const auto x = at::randn({2, 3, 7, 8}).requires_grad_(true);
  const auto upstream = at::randn({2, 3, 7, 8});
  roformer_ext::RopeOptions options;
  options.interleaved = interleaved;

  const auto y = roformer_ext::rope(x, cos, sin, {}, options);
  check(at::equal(y.detach(), rotate(x.detach(), cos, sin)), "rope equals its definition");

  y.backward(upstream);
  check(x.grad().defined() && at::equal(x.grad(), rotate(upstream, cos, -sin)),
        "the gradient is the rotation by minus the angle");

  options.conj = true;
  check(at::equal(x.grad(), roformer_ext::rope(upstream, cos, sin, {}, options)),
        "the gradient is rope with conj");
}

void check_positions_and_heads() {
  const auto [cos, sin] = tables(16, 8);
  const auto x = at::randn({2, 5, 3, 8});
  const auto ids = at::randint(0, 16, {2, 5}, at::kLong);
  roformer_ext::RopeOptions options;
  options.seq_dim = 1;
  options.heads = 2;
  const auto y = roformer_ext::rope(x, cos, sin, ids, options);
  const auto rows = [&](const at::Tensor& table) {
    return table.index_select(0, ids.flatten()).view({2, 5, 1, 4});
  };
  check(at::equal(y.slice(2, 0, 2), rotate_halves(x.slice(2, 0, 2), rows(cos), rows(sin))),
        "position ids choose the rows of the table");
  check(at::equal(y.slice(2, 2, 3), x.slice(2, 2, 3)), "heads behind `heads` pass through");
}

void check_in_place() {
  const auto [cos, sin] = tables(7, 8);
  const auto x = at::randn({2, 3, 7, 8});
  const auto expected = roformer_ext::rope(x, cos, sin);
  const auto y = roformer_ext::rope_(x, cos, sin);
  check(y.is_same(x) || y.data_ptr() == x.data_ptr(), "rope_ returns its argument");
  check(at::equal(x, expected), "rope_ writes what rope returns");

  const auto leaf = at::randn({2, 3, 7, 8}).requires_grad_(true);
  const auto rotated = roformer_ext::rope_(leaf * 2, cos, sin);
  rotated.sum().backward();
  const auto ones = at::ones_like(leaf);
  check(at::equal(leaf.grad(), rotate_halves(ones, cos, -sin) * 2), "rope_ is differentiable");
}

void check_full_width() {
  const auto [cos, sin] = tables(7, 8);
  const auto x = at::randn({2, 3, 7, 8});
  const auto y = roformer_ext::rope_full_width(x, at::cat({cos, cos}, -1), at::cat({sin, sin}, -1));
  check(at::equal(y, roformer_ext::rope(x, cos, sin)),
        "rope_full_width with repeated tables equals rope");
}

void check_refusal() {
  const auto [cos, sin] = tables(7, 8);
  bool refused = false;
  try {
    roformer_ext::rope(at::randn({2, 3, 9, 8}), cos, sin);
  } catch (const c10::Error&) {
    refused = true;
  }
  check(refused, "a table that is too short is refused");
}

}  // namespace

int main() {
  at::manual_seed(0);
  check_forward_and_gradient(false);
  check_forward_and_gradient(true);
  check_positions_and_heads();
  check_in_place();
  check_full_width();
  check_refusal();
  return failures;
}
