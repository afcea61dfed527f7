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

set(ROFORMER_EXT_IO_SOURCES
  io/checkpoint.cpp
  io/config.cpp
  io/config_check.cpp
  io/file_error.cpp
  io/json.cpp
  io/mapped_file.cpp
  io/safetensors.cpp
  io/safetensors_header.cpp
  io/tensor_files.cpp)

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

set(ROFORMER_EXT_NN_SOURCES
  nn/activation.cpp
  nn/attention.cpp
  nn/checkpoint_parameters.cpp
  nn/embeddings.cpp
  nn/from_pretrained.cpp
  nn/layer.cpp
  nn/losses.cpp
  nn/mask.cpp
  nn/masked_lm.cpp
  nn/model.cpp
  nn/packing.cpp
  nn/parameters.cpp
  nn/parts.cpp
  nn/rotation.cpp
  nn/sequence_classification.cpp)

set(ROFORMER_EXT_PYTHON_SOURCES
  python/module.cpp)

set(ROFORMER_EXT_PUBLIC_HEADERS
  include/roformer_ext/build_info.h
  include/roformer_ext/export.h
  include/roformer_ext/ops.h)

set(ROFORMER_EXT_ENCODER_PUBLIC_HEADERS
  include/roformer_ext/config.h
  include/roformer_ext/encoder.h)

# Tests, relative to tests/csrc, by the floor whose rules they follow.
set(ROFORMER_EXT_TEST_SOURCES
  core/element_test.cpp
  cpu/rope_test.cpp
  cuda/rope_body_test.cpp)

set(ROFORMER_EXT_IO_TEST_SOURCES
  io/checkpoint_test.cpp
  io/config_test.cpp
  io/fuzz_test.cpp
  io/safetensors_test.cpp)

set(ROFORMER_EXT_OPS_TEST_SOURCES
  ops/rope_test.cpp)

set(ROFORMER_EXT_NN_TEST_SOURCES
  nn/encoder_test.cpp
  nn/parity_test.cpp)
