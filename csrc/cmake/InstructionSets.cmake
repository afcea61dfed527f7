# Flags of the CPU kernels. Everything is compiled without contraction to fused multiply-add: results are the same bits
# on every instruction set (see "Numerics" in csrc/README.md).

set(ROFORMER_EXT_KERNEL_FLAGS -O3 -ffp-contract=off -fno-math-errno)

function(roformer_ext_set_kernel_flags directory)
  set_source_files_properties("${directory}/cpu/rope_default.cpp" PROPERTIES COMPILE_OPTIONS "${ROFORMER_EXT_KERNEL_FLAGS}")
  if(ROFORMER_EXT_X86)
    set_source_files_properties("${directory}/cpu/rope_avx2.cpp" PROPERTIES
      COMPILE_OPTIONS "${ROFORMER_EXT_KERNEL_FLAGS};-mavx2;-mf16c")
    set_source_files_properties("${directory}/cpu/rope_avx512.cpp" PROPERTIES
      COMPILE_OPTIONS "${ROFORMER_EXT_KERNEL_FLAGS};-mavx512f;-mavx512bw;-mavx512vl;-mavx512dq;-mf16c")
  endif()
endfunction()

string(TOLOWER "${CMAKE_SYSTEM_PROCESSOR}" _processor)
if(_processor MATCHES "x86_64|amd64")
  set(ROFORMER_EXT_X86 ON)
else()
  set(ROFORMER_EXT_X86 OFF)
endif()
