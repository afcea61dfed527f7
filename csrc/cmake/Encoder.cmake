# Decides whether the C++ encoder is built: ROFORMER_EXT_ENCODER is AUTO, ON (an error where it cannot be) or OFF.
# Sets ROFORMER_EXT_WITH_ENCODER and the target roformer_ext_json, the headers of nlohmann-json, which nothing that is
# installed needs.

set(ROFORMER_EXT_ENCODER AUTO CACHE STRING "Build the C++ encoder: AUTO, ON or OFF")
set(ROFORMER_EXT_WITH_ENCODER OFF)

if(NOT ROFORMER_EXT_ENCODER MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "ROFORMER_EXT_ENCODER must be AUTO, ON or OFF, got ${ROFORMER_EXT_ENCODER}.")
endif()

if(NOT ROFORMER_EXT_ENCODER STREQUAL "OFF")
  find_path(ROFORMER_EXT_JSON_INCLUDE nlohmann/json.hpp)
  if(ROFORMER_EXT_JSON_INCLUDE)
    add_library(roformer_ext_json INTERFACE)
    target_include_directories(roformer_ext_json SYSTEM INTERFACE "${ROFORMER_EXT_JSON_INCLUDE}")
    set(ROFORMER_EXT_WITH_ENCODER ON)
  elseif(ROFORMER_EXT_ENCODER STREQUAL "ON")
    message(FATAL_ERROR "ROFORMER_EXT_ENCODER=ON, but nlohmann/json.hpp was not found; install nlohmann-json3-dev.")
  else()
    message(STATUS "roformer_ext: the C++ encoder is left out, since nlohmann/json.hpp was not found.")
  endif()
endif()
