#!/usr/bin/env bash
# Sets up, builds, and trains a byte-level GPT on the King James Bible with two MPI ranks.
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/setup.sh
install_packages
fetch_libtorch
build default wattle-train wattle
./launch/prepare_data.sh kjv
say "mpirun -np 2 build/bin/wattle-train configs/train/gpt_kjv.yaml"
exec mpirun $(mpirun_flags) -np 2 build/bin/wattle-train configs/train/gpt_kjv.yaml "$@"
