#!/usr/bin/env bash
# Sets up, builds and tests: ./launch/test.sh [-L label] [-R name] [other flags of ctest].
# Tests labelled `slow` run only when asked for: ./launch/test.sh -L slow
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/setup.sh
install_packages
fetch_libtorch
build
./launch/prepare_data.sh
./launch/clients.sh
default=(-LE slow)
for flag in "$@"; do [ "$flag" != -L ] || default=(); done
exec ctest --test-dir build --parallel "$(nproc)" --output-on-failure --no-tests=error "${default[@]}" "$@"
