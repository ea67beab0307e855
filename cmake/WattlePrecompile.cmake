# Headers that most files of a target spend their time on, compiled once for several targets.
#
# wattle_precompiled(kind LINKS library... HEADERS header...) compiles them, beside those that every
# file has, with the flags of this folder; wattle_precompile(kind target...) lets targets use them.
# Every file still includes what it uses; -DWATTLE_PRECOMPILE=OFF, as in the preset debug, shows it.
option(WATTLE_PRECOMPILE "Precompile LibTorch's, gRPC's and other large headers" ON)

set(WATTLE_TORCH_HEADERS <ATen/core/Tensor.h> <ATen/core/grad_mode.h> <ATen/TensorOperators.h>
  <ATen/ops/empty.h>)

function(wattle_precompiled kind)
  cmake_parse_arguments(arg "" "" "HEADERS;LINKS" ${ARGN})
  if(NOT WATTLE_PRECOMPILE)
    return()
  endif()
  set(source ${CMAKE_BINARY_DIR}/generated/precompiled_${kind}.cpp)
  file(CONFIGURE OUTPUT ${source} CONTENT "")
  add_library(wattle_precompiled_${kind} OBJECT ${source})
  target_link_libraries(wattle_precompiled_${kind}
    PRIVATE wattle_flags spdlog::spdlog nlohmann_json::nlohmann_json ${arg_LINKS})
  target_precompile_headers(wattle_precompiled_${kind} PRIVATE <algorithm> <functional> <map> <memory>
    <optional> <string> <vector> <fmt/format.h> <nlohmann/json.hpp> ${arg_HEADERS})
endfunction()

function(wattle_precompile kind)
  if(NOT WATTLE_PRECOMPILE)
    return()
  endif()
  foreach(target ${ARGN})
    target_precompile_headers(${target} REUSE_FROM wattle_precompiled_${kind})
    # GCC 12's false alarms in libstdc++ (its PR 105651) are silent only in headers that it reads.
    target_compile_options(${target} PRIVATE
      "$<$<CXX_COMPILER_ID:GNU>:-Wno-array-bounds;-Wno-stringop-overflow;-Wno-restrict>")
  endforeach()
endfunction()
