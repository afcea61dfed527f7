# The only list of sources. Each group is one floor (see csrc/README.md).

set(ROFORMER_EXT_CPU_SOURCES
  cpu/level.cpp
  cpu/rope_default.cpp
  cpu/rope_plan.cpp)

# Compiled with the flags of their instruction set (cmake/InstructionSets.cmake), on x86-64 only.
set(ROFORMER_EXT_X86_SOURCES
  cpu/rope_avx2.cpp
  cpu/rope_avx512.cpp)

set(ROFORMER_EXT_CUDA_SOURCES
  cuda/rope.cu
  cuda/rope_bfloat16.cu
  cuda/rope_float16.cu
  cuda/rope_float32.cu
  cuda/rope_float64.cu)

set(ROFORMER_EXT_OPS_SOURCES
  ops/build_info.cpp
  ops/rope/autograd.cpp
  ops/rope/batching.cpp
  ops/rope/composite.cpp
  ops/rope/cpu.cpp
  ops/rope/fallback.cpp
  ops/rope/functionalize.cpp
  ops/rope/memory.cpp
  ops/rope/meta.cpp
  ops/rope/params.cpp
  ops/rope/schema.cpp
  ops/rope/shape.cpp)

set(ROFORMER_EXT_OPS_CUDA_SOURCES
  ops/rope/cuda.cpp)

set(ROFORMER_EXT_PYTHON_SOURCES
  python/module.cpp)

set(ROFORMER_EXT_PUBLIC_HEADERS
  include/roformer_ext/build_info.h
  include/roformer_ext/ops.h)

# Tests, relative to tests/csrc, by the floor whose rules they follow.
set(ROFORMER_EXT_TEST_SOURCES
  main.cpp
  core/element_test.cpp
  cpu/rope_test.cpp
  cuda/rope_body_test.cpp)

set(ROFORMER_EXT_OPS_TEST_SOURCES
  main.cpp
  ops/rope_test.cpp)
