# wattle_precompile(kind target...): the headers that most files of these targets spend their time on
# are compiled once a kind: plain, rpc (with gRPC), torch, and the same for tests (with gmock).
# Every file still includes what it uses; -DWATTLE_PRECOMPILE=OFF, as in the preset debug, shows it.
option(WATTLE_PRECOMPILE "Precompile LibTorch's, gRPC's and other large headers" ON)

set(WATTLE_PLAIN_HEADERS <algorithm> <functional> <map> <memory> <optional> <string> <vector>
  <fmt/format.h> <nlohmann/json.hpp>)
set(WATTLE_TORCH_HEADERS <ATen/core/Tensor.h> <ATen/core/grad_mode.h> <ATen/TensorOperators.h>
  <ATen/ops/empty.h>)

function(wattle_precompiled kind)
  cmake_parse_arguments(arg "" "" "HEADERS;LINKS" ${ARGN})
  set(source ${CMAKE_BINARY_DIR}/generated/precompiled_${kind}.cpp)
  file(CONFIGURE OUTPUT ${source} CONTENT "")
  add_library(wattle_precompiled_${kind} OBJECT ${source})
  target_link_libraries(wattle_precompiled_${kind} PRIVATE wattle_flags ${arg_LINKS})
  target_precompile_headers(wattle_precompiled_${kind} PRIVATE ${WATTLE_PLAIN_HEADERS} ${arg_HEADERS})
endfunction()

function(wattle_precompile kind)
  if(NOT WATTLE_PRECOMPILE)
    return()
  endif()
  foreach(target ${ARGN})
    target_precompile_headers(${target} REUSE_FROM wattle_precompiled_${kind})
    # GCC 12's false alarms in libstdc++ (its PR 105651), which it keeps silent in headers that it reads.
    target_compile_options(${target} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-Wno-array-bounds>)
  endforeach()
endfunction()

if(WATTLE_PRECOMPILE)
  set(plain_links spdlog::spdlog nlohmann_json::nlohmann_json)
  wattle_precompiled(plain LINKS ${plain_links})
  wattle_precompiled(rpc LINKS ${plain_links} gRPC::grpc++ HEADERS <grpcpp/grpcpp.h>)
  wattle_precompiled(torch LINKS ${plain_links} LibTorch::LibTorch HEADERS ${WATTLE_TORCH_HEADERS})
endif()
if(WATTLE_PRECOMPILE AND BUILD_TESTING)
  wattle_precompiled(plain_tests LINKS ${plain_links} GTest::gmock HEADERS <gmock/gmock.h>)
  wattle_precompiled(rpc_tests LINKS ${plain_links} gRPC::grpc++ GTest::gmock HEADERS <gmock/gmock.h>)
  wattle_precompiled(torch_tests LINKS ${plain_links} LibTorch::LibTorch GTest::gmock
    HEADERS ${WATTLE_TORCH_HEADERS} <gmock/gmock.h>)
endif()
