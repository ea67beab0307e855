#!/usr/bin/env bash
# Sets up and builds: ./launch/build.sh [default|debug|asan|tsan|cuda|fuzz]. Programs: build/bin/.
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/setup.sh
install_packages
[ "${1:-}" != fuzz ] || install_packages launch/packages_fuzz.txt
fetch_libtorch
build "${1:-default}"
