#!/usr/bin/env bash
# Sets up and builds: ./launch/build.sh [default|debug|asan|tsan|cuda]. Programs: build/bin/.
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/setup.sh
install_packages
fetch_libtorch
build "${1:-default}"
