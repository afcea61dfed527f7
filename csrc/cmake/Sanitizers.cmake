# Makes the target roformer_ext_sanitizers: AddressSanitizer, with its search for leaks, and UndefinedBehaviorSanitizer;
# empty where the compiler lacks them. The tests of the readers of files always have them. ROFORMER_EXT_SANITIZE=ON gives
# them to everything of ours, while LibTorch stays as it is (scripts/sanitize_cpu.sh).

option(ROFORMER_EXT_SANITIZE "Compile everything of ours with sanitizers" OFF)

# A finding ends the process. The check of dynamic types asks for typeinfo that LibTorch does not show. GCC doubts values
# that sanitizers have instrumented.
set(ROFORMER_EXT_SANITIZER_FLAGS -fsanitize=address,undefined -fno-sanitize=vptr -fno-sanitize-recover=all)
add_library(roformer_ext_sanitizers INTERFACE)

include(CheckCXXSourceCompiles)
set(CMAKE_REQUIRED_FLAGS -fsanitize=address,undefined)
check_cxx_source_compiles("int main() {}" ROFORMER_EXT_HAS_SANITIZERS)
unset(CMAKE_REQUIRED_FLAGS)

if(ROFORMER_EXT_HAS_SANITIZERS)
  target_compile_options(roformer_ext_sanitizers INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-O1;-g1;-fno-omit-frame-pointer
    -Wno-maybe-uninitialized;${ROFORMER_EXT_SANITIZER_FLAGS}>)
  target_link_options(roformer_ext_sanitizers INTERFACE ${ROFORMER_EXT_SANITIZER_FLAGS})
elseif(ROFORMER_EXT_SANITIZE)
  message(FATAL_ERROR "ROFORMER_EXT_SANITIZE=ON, but ${CMAKE_CXX_COMPILER} cannot link with -fsanitize=address,undefined.")
else()
  message(STATUS "roformer_ext: the readers of files are tested without sanitizers, which this compiler lacks.")
endif()
