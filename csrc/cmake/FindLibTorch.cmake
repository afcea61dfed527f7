# Finds LibTorch and makes the target roformer_ext::libtorch of it: headers, torch/torch.h included, and libraries.
#
# Not find_package(Torch): that asks for nvcc whenever torch was built with CUDA, probes GPUs, and changes global flags.
# The shared libraries and their headers are all that is needed. This file also serves installed packages.
#
# Looks in LIBTORCH_ROOT, then in CMAKE_PREFIX_PATH, then asks the python3 on the PATH.
# Sets LIBTORCH_ROOT, LIBTORCH_VERSION and LIBTORCH_HAS_CUDA.

if(NOT LIBTORCH_ROOT)
  find_file(_libtorch_config TorchConfig.cmake PATH_SUFFIXES share/cmake/Torch Torch NO_CACHE)
  if(_libtorch_config)
    get_filename_component(LIBTORCH_ROOT "${_libtorch_config}/../../../.." ABSOLUTE)
  else()
    find_program(_python NAMES python3 python NO_CACHE)
    if(_python)
      execute_process(
        COMMAND "${_python}" -c "import importlib.util as u; print(u.find_spec('torch').submodule_search_locations[0])"
        OUTPUT_VARIABLE LIBTORCH_ROOT OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    endif()
  endif()
endif()
if(NOT EXISTS "${LIBTORCH_ROOT}/include/ATen/core/Tensor.h")
  message(FATAL_ERROR "LibTorch was not found; set LIBTORCH_ROOT to the folder that holds its include and lib, "
    "or CMAKE_PREFIX_PATH to `python -c 'import torch; print(torch.utils.cmake_prefix_path)'`.")
endif()

set(_libtorch_include "${LIBTORCH_ROOT}/include")
foreach(_header torch/headeronly/version.h torch/csrc/api/include/torch/version.h)
  if(EXISTS "${_libtorch_include}/${_header}")
    file(STRINGS "${_libtorch_include}/${_header}" _lines REGEX "#define TORCH_VERSION_(MAJOR|MINOR|PATCH) [0-9]+")
    if(_lines)
      string(REGEX REPLACE ".*MAJOR ([0-9]+).*MINOR ([0-9]+).*PATCH ([0-9]+).*" "\\1.\\2.\\3" LIBTORCH_VERSION "${_lines}")
      break()
    endif()
  endif()
endforeach()
if(NOT LIBTORCH_VERSION)
  message(FATAL_ERROR "The version of LibTorch in ${LIBTORCH_ROOT} could not be read from its headers.")
endif()

if(EXISTS "${LIBTORCH_ROOT}/lib/libc10_cuda.so")
  set(LIBTORCH_HAS_CUDA ON)
else()
  set(LIBTORCH_HAS_CUDA OFF)
endif()

if(NOT TARGET roformer_ext::libtorch)
  add_library(roformer_ext::libtorch INTERFACE IMPORTED)
  set_target_properties(roformer_ext::libtorch PROPERTIES
    INTERFACE_INCLUDE_DIRECTORIES "${_libtorch_include};${_libtorch_include}/torch/csrc/api/include"
    INTERFACE_SYSTEM_INCLUDE_DIRECTORIES "${_libtorch_include};${_libtorch_include}/torch/csrc/api/include"
    INTERFACE_COMPILE_FEATURES cxx_std_20)
  # A program must name all of them, those that it calls only by way of the operators too: they are found by its own
  # run path, not by that of the operators.
  set(_libtorch_libraries torch torch_cpu c10)
  if(LIBTORCH_HAS_CUDA)
    list(APPEND _libtorch_libraries c10_cuda)
  endif()
  list(TRANSFORM _libtorch_libraries REPLACE "(.+)" "${LIBTORCH_ROOT}/lib/lib\\1.so")
  set_property(TARGET roformer_ext::libtorch PROPERTY INTERFACE_LINK_LIBRARIES
    "-Wl,--push-state,--no-as-needed" ${_libtorch_libraries} "-Wl,--pop-state")
  # Libraries of torch's own dependencies are found when a program starts, and are not looked for when it is linked.
  set_property(TARGET roformer_ext::libtorch APPEND PROPERTY INTERFACE_LINK_OPTIONS "LINKER:--allow-shlib-undefined")
endif()
