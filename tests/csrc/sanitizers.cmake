# What the tests need when everything of ours is compiled with sanitizers (ROFORMER_EXT_SANITIZE=ON): the options, the list of
# leaks that are not ours, and the runtime in the one process that does not link it, Python's.

get_property(_tests DIRECTORY PROPERTY TESTS)
set_property(TEST ${_tests} APPEND PROPERTY ENVIRONMENT
  "ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1:check_initialization_order=1"
  "LSAN_OPTIONS=suppressions=${CMAKE_CURRENT_SOURCE_DIR}/lsan.supp:print_suppressions=0"
  "UBSAN_OPTIONS=print_stacktrace=1")

# The runtime must come first, and the C++ library with it, whose throw it stands in for. What Python keeps until its end
# counts as leaked, so that search is left to the other tests.
set(_preload "")
foreach(_library libasan.so libstdc++.so)
  execute_process(COMMAND "${CMAKE_CXX_COMPILER}" -print-file-name=${_library}
    OUTPUT_VARIABLE _path OUTPUT_STRIP_TRAILING_WHITESPACE)
  list(APPEND _preload "${_path}")
endforeach()
list(JOIN _preload ":" _preload)
if(TEST checkpoints)
  set_property(TEST checkpoints APPEND PROPERTY ENVIRONMENT "LD_PRELOAD=${_preload}" ASAN_OPTIONS=detect_leaks=0)
endif()
