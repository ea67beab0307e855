# Finds an unpacked LibTorch and defines LibTorch::LibTorch.
#
# LIBTORCH_ROOT: the folder that holds include/ and lib/ (a wheel's torch/, or a LibTorch archive).
# A CPU program links libtorch_cpu and libc10 alone: libtorch would pull in libtorch_cuda.
set(LIBTORCH_ROOT ${CMAKE_SOURCE_DIR}/.deps/libtorch/torch CACHE PATH "Folder with LibTorch's include/ and lib/")

find_path(LibTorch_INCLUDE_DIR ATen/core/Tensor.h PATHS ${LIBTORCH_ROOT}/include NO_DEFAULT_PATH)
find_library(LibTorch_C10 c10 PATHS ${LIBTORCH_ROOT}/lib NO_DEFAULT_PATH)
find_library(LibTorch_CPU torch_cpu PATHS ${LIBTORCH_ROOT}/lib NO_DEFAULT_PATH)
set(libtorch_required LibTorch_INCLUDE_DIR LibTorch_C10 LibTorch_CPU)
if(WATTLE_CUDA)
  find_library(LibTorch_CUDA torch_cuda PATHS ${LIBTORCH_ROOT}/lib NO_DEFAULT_PATH)
  find_library(LibTorch_C10_CUDA c10_cuda PATHS ${LIBTORCH_ROOT}/lib NO_DEFAULT_PATH)
  list(APPEND libtorch_required LibTorch_CUDA LibTorch_C10_CUDA)
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(LibTorch REQUIRED_VARS ${libtorch_required}
  REASON_FAILURE_MESSAGE "LIBTORCH_ROOT is ${LIBTORCH_ROOT}, ./launch/build.sh fetches it")

if(LibTorch_FOUND AND NOT TARGET LibTorch::LibTorch)
  add_library(LibTorch::LibTorch INTERFACE IMPORTED)
  # The wheel carries headers of other libraries too (fmt, dnnl, ...): the system's come first.
  target_compile_options(LibTorch::LibTorch INTERFACE "SHELL:-idirafter ${LibTorch_INCLUDE_DIR}"
    "SHELL:-idirafter ${LibTorch_INCLUDE_DIR}/torch/csrc/api/include")
  # libtorch_cpu registers its operators in static initialisers, so it must stay on the link line.
  target_link_options(LibTorch::LibTorch INTERFACE
    "LINKER:--no-as-needed,${LibTorch_CPU},--as-needed" "LINKER:-rpath,${LIBTORCH_ROOT}/lib"
    # The wheel's CUDA side libraries lie beside it and are found at run time.
    "LINKER:--allow-shlib-undefined")
  target_link_libraries(LibTorch::LibTorch INTERFACE ${LibTorch_C10} ${LibTorch_CPU} ${LIBTORCH_ROOT}/lib/libgomp.so.1)
  target_compile_options(LibTorch::LibTorch INTERFACE -fopenmp)
  if(WATTLE_CUDA)
    target_compile_definitions(LibTorch::LibTorch INTERFACE WATTLE_CUDA)
    target_link_options(LibTorch::LibTorch INTERFACE
      "LINKER:--no-as-needed,${LibTorch_CUDA},${LibTorch_C10_CUDA},--as-needed")
  endif()
endif()
