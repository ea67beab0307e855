"""How much of what rounding to Q4_0 costs does training on rounded weights win back?

Runs configs/train/smollm2_qat_q4_0.yaml, which fine-tunes in float first, then rounded from the first
step: the same data, order and steps, each at its own learning rate. The float run is written as
smollm2_finetune.yaml says. Measures three files on the held-out text, with llama-perplexity and with `wattle-train eval`:

    float   the float fine-tune              rounded   the same, rounded to Q4_0 when it is written
    qat     trained on rounded weights

The recovered share is 1 - (qat - float) / (rounded - float), of perplexities. Prints one JSON object.
A run that is done already is measured as it is; they lie under runs/.

usage, from the repository's root: python3 tests/bench/qat_recovery.py [--ranks N]
./launch/prepare_data.sh kjv smollm2 and ./launch/clients.sh set up what it needs.
"""

import argparse
import json
import math
import os
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
FLOAT, QAT = (ROOT / "configs/train" / name
              for name in ("smollm2_finetune.yaml", "smollm2_qat_q4_0.yaml"))
HELD_OUT = "data/kjv_heldout.txt"
WINDOW = 256
RUN = "runs/smollm2-qat-q4_0"
FILES = {"float": f"{RUN}/float/export/float.gguf",
         "rounded": f"{RUN}/float/export/rounded.gguf",
         "qat": f"{RUN}/export/smollm2-qat-q4_0.gguf"}


def run(*command) -> str:
    done = subprocess.run([*map(str, command)], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def wattle(ranks: int, *arguments) -> str:
    root = ["--allow-run-as-root"] if os.geteuid() == 0 else []
    launcher = ["mpirun", *root, "--oversubscribe", "--bind-to", "none", "-np", ranks]
    return run(*(launcher if ranks > 1 else []), ROOT / "build/bin/wattle-train", *arguments)


def llama_perplexity(model: str) -> float:
    said = run(ROOT / ".deps/llama.cpp/bin/llama-perplexity", "-m", model, "-f", HELD_OUT,
               "-c", WINDOW)
    return float(re.search(r"Final estimate: PPL = ([0-9.]+)", said)[1])


def own_perplexity(model: str) -> float:
    said = wattle(1, "eval", FLOAT, "--json", "--set", f"model.init_from={model}")
    return math.exp(json.loads(said[said.index('{"loss"'):].splitlines()[0])["loss"])


def recovered(perplexity: dict) -> float:
    lost = perplexity["rounded"] - perplexity["float"]
    return 1 - (perplexity["qat"] - perplexity["float"]) / lost


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ranks", type=int, default=2)
    ranks = parser.parse_args().ranks
    wattle(ranks, QAT)
    wattle(1, "export", FLOAT, "--set", f"run.output_dir={RUN}/float")
    theirs = {name: llama_perplexity(path) for name, path in FILES.items()}
    ours = {name: own_perplexity(path) for name, path in FILES.items()}
    print(json.dumps({
        "bytes": {name: pathlib.Path(path).stat().st_size for name, path in FILES.items()},
        "llama_perplexity": theirs, "recovered_share": recovered(theirs),
        "wattle_perplexity": ours, "recovered_share_wattle": recovered(ours)}, indent=2))


if __name__ == "__main__":
    main()
