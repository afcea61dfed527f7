// `rope` on the CPU: checks, then the kernel of the active instruction set over all threads.
//
// Compiled with -fopenmp, without which at::parallel_for would run on one thread.
#include <ATen/Parallel.h>
#include <ATen/ops/empty_like.h>
#include <c10/util/Exception.h>
#include <torch/library.h>

#include "cpu/level.h"
#include "ops/rope/params.h"

namespace roformer_ext::ops {
namespace {

// Threads are worth waking for about this many elements each.
constexpr std::int64_t kGrainElements = 32768;

// Outputs above this part of the last cache are written past it: neighbours use the rest, and x
// itself.
constexpr std::int64_t kCacheShare = 4;

// Ids are read before anything is written, so that a bad one leaves an in-place x as it was.
void check_id_values(const at::Tensor& tensor, const core::RopeIds& ids) {
  const std::int64_t batch = tensor.dim() == 2 ? tensor.size(0) : 1, seq = tensor.size(-1);
  for (std::int64_t b = 0; b < batch; ++b) {
    for (std::int64_t s = 0; s < seq; ++s) {
      const std::int64_t id = core::token_id(ids, b, s);
      if (id >= -1 && id < ids.rows) [[likely]] {
        continue;
      }
      TORCH_CHECK(false, "rope: position_ids must be -1 or lie in [0, ", ids.rows,
                  "), the rows of cos and sin, got ", id, " at [",
                  tensor.dim() == 2 ? std::to_string(b) + ", " : "", s, "]");
    }
  }
}

void rotate(const RopeArguments& a, const RopeShape<std::int64_t>& shape, const at::Tensor& out) {
  const core::RopeParams p = rope_params(a, shape, out);
  if (a.x.numel() == 0) return;
  const cpu::RopeKernel kernel = cpu::kernels().rope;
  const std::int64_t elements = a.x.numel();
  const std::int64_t workers = elements <= kGrainElements ? 1 : at::get_num_threads();
  const cpu::RopePlan plan = cpu::plan_rope(p, workers, cpu::last_cache_bytes() / kCacheShare);
  if (workers == 1) return kernel(p, plan, 0, plan.units);
  const std::int64_t grain = std::max<std::int64_t>(1, kGrainElements * plan.units / elements);
  at::parallel_for(0, plan.units, grain,
                   [&](std::int64_t begin, std::int64_t end) { kernel(p, plan, begin, end); });
}

RopeShape<std::int64_t> check(const RopeArguments& a) {
  const auto shape = check_rope<std::int64_t>(a);
  if (a.has_ids()) check_id_values(*a.position_ids, rope_ids(*a.position_ids, shape));
  return shape;
}

at::Tensor rope_cpu(const RopeArguments& a) {
  const auto shape = check(a);
  at::Tensor out = at::empty_like(a.x);
  rotate(a, shape, out);
  return out;
}

void rope_cpu_(const RopeArguments& a) {
  const auto shape = check(a);
  check_writable(a);
  rotate(a, shape, a.x);
}

}  // namespace
}  // namespace roformer_ext::ops

TORCH_LIBRARY_IMPL(roformer_ext, CPU, m) {
  using namespace roformer_ext::ops;
  m.impl("rope", &flat<rope_cpu>);
  m.impl("rope_", &flat_<rope_cpu_>);
}
