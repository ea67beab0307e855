#!/usr/bin/env bash
# Checks the source: clang-format, and the arrows between folders.
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/setup.sh
install_packages launch/packages_check.txt
git ls-files '*.h' '*.cpp' | xargs clang-format --dry-run --Werror
python3 launch/check_arrows.py
say "The source is formatted and its includes follow the arrows"
