"""How much of what rounding to Q4_0 costs does training on rounded weights win back?

Fine-tunes the model of configs/train/smollm2_qat_q4_0.yaml twice with the same data, order and
steps: in float, and quantised from the first step. Measures four files on the held-out text, with
llama-perplexity and with `wattle-train eval`:

    float   the float fine-tune              ptq   the same, rounded to Q4_0 when it is written
    qat     trained on rounded weights       and their perplexities' excess over float

The recovered share is 1 - (qat - float) / (ptq - float). Prints one JSON object.

Each side may have its own settings, so that float is compared at its own best learning rate.

usage: qat_recovery.py [--steps N] [--ranks N] [--output FOLDER] [--set KEY=VALUE]...
                       [--set-float KEY=VALUE]... [--set-qat KEY=VALUE]...
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
CONFIG = ROOT / "configs/train/smollm2_qat_q4_0.yaml"
HELD_OUT = "data/kjv_heldout.txt"
WINDOW = 256
FILES = {"float": "float", "ptq": "float", "qat": "qat"}  # file → the run that writes it


def run(*command) -> str:
    done = subprocess.run([*map(str, command)], cwd=ROOT, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def wattle(ranks: int, *arguments) -> str:
    root = ["--allow-run-as-root"] if os.geteuid() == 0 else []
    launcher = ["mpirun", *root, "--oversubscribe", "--bind-to", "none", "-np", ranks]
    return run(*(launcher if ranks > 1 else []), ROOT / "build/bin/wattle-train", *arguments)


def as_sets(overrides: list) -> list:
    return [word for override in overrides for word in ("--set", override)]


def train(name: str, folder: pathlib.Path, ranks: int, sets: list):
    compression = [] if name == "qat" else ["--set", "compression=[]"]
    written = [f"{{format: gguf, type: {kind}, path: {file}.gguf}}" for file, kind in
               (("float", "f32"), ("ptq", "q4_0"))] if name == "float" else \
              ["{format: gguf, path: qat.gguf}"]
    wattle(ranks, CONFIG, "--set", f"run.output_dir={folder / name}", *compression,
           "--set", f"export=[{', '.join(written)}]", *sets)


def llama_perplexity(model: pathlib.Path) -> float:
    said = run(ROOT / ".deps/llama.cpp/bin/llama-perplexity", "-m", model, "-f", HELD_OUT,
               "-c", WINDOW)
    return float(re.search(r"Final estimate: PPL = ([0-9.]+)", said)[1])


def own_perplexity(model: pathlib.Path) -> float:
    said = wattle(1, "eval", CONFIG, "--json", "--set", f"model.init_from={model}",
                  "--set", "compression=[]")
    return math.exp(json.loads(said[said.index('{"loss"'):].splitlines()[0])["loss"])


def recovered(perplexity: dict) -> float:
    lost = perplexity["ptq"] - perplexity["float"]
    return 1 - (perplexity["qat"] - perplexity["float"]) / lost


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=0, help="instead of the configuration's")
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("runs/qat-recovery"))
    parser.add_argument("--set", action="append", default=[], dest="sets")
    parser.add_argument("--set-float", action="append", default=[], dest="float_sets")
    parser.add_argument("--set-qat", action="append", default=[], dest="qat_sets")
    arguments = parser.parse_args()
    sets = as_sets(arguments.sets)
    if arguments.steps:
        sets += ["--set", f"train.steps={arguments.steps}"]
    for name, own in (("float", arguments.float_sets), ("qat", arguments.qat_sets)):
        train(name, arguments.output, arguments.ranks, sets + as_sets(own))
    files = {name: arguments.output / source / "export" / f"{name}.gguf"
             for name, source in FILES.items()}
    theirs = {name: llama_perplexity(path) for name, path in files.items()}
    ours = {name: own_perplexity(path) for name, path in files.items()}
    print(json.dumps({
        "bytes": {name: (ROOT / path).stat().st_size for name, path in files.items()},
        "llama_perplexity": theirs, "recovered_share": recovered(theirs),
        "wattle_perplexity": ours, "recovered_share_wattle": recovered(ours)}, indent=2))


if __name__ == "__main__":
    main()
