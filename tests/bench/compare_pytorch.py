#!/usr/bin/env python3
"""Compares Wattle with PyTorch side by side: tokens/s and peak memory of two GPTs at one rank with
two threads and at two ranks with one thread each, and the time from launch to the end of the third
step of a tiny model. Both sides take turns; figures are medians over the rounds.

    ./launch/build.sh && ./launch/clients.sh && python3 tests/bench/compare_pytorch.py [--rounds N]
                                                                    [--only 124m|10m|launch]

Needs nothing but Python's standard library; PyTorch runs in .deps/clients.
"""

import argparse
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".deps/clients/bin/python"
TRAIN = ROOT / "build/bin/wattle-train"

SHAPES = {
    "124m": dict(layers=12, width=768, heads=12, vocab=50257, batch=4, sequence=256),
    "10m": dict(layers=6, width=384, heads=6, vocab=256, batch=12, sequence=256),
    "tiny": dict(layers=2, width=64, heads=2, vocab=256, batch=2, sequence=32),
}
WARMUP, TIMED = 2, 5

CONFIG = """
run: {{output_dir: {folder}/run, threads: {threads}}}
model: {{family: gpt2, layers: {layers}, width: {width}, heads: {heads}, vocab: {vocab}, positions: {sequence}}}
data: {{kind: text, path: {folder}/text.bin, tokenizer: bytes, sequence_length: {sequence}, validation: "0"}}
train: {{steps: {steps}, global_batch: {global_batch}, micro_batch: {batch}}}
optimizer: {{name: adamw, lr: 3.0e-4, betas: [0.9, 0.95], weight_decay: 0.1}}
"""


def mpirun(ranks):
    root = ["--allow-run-as-root"] if os.geteuid() == 0 else []
    return ["mpirun", *root, "--oversubscribe", "--bind-to", "none", "-np", str(ranks)]


def wattle_command(name, ranks, steps, folder):
    shape = SHAPES[name]
    (folder / "text.bin").write_bytes(random.Random(1).randbytes(400_000))
    config = folder / "run.yaml"
    config.write_text(CONFIG.format(folder=folder, steps=steps,
                                    threads=2 if ranks == 1 else 1,
                                    global_batch=shape["batch"] * ranks, **shape))
    return mpirun(ranks) + [str(TRAIN), str(config)]


def pytorch_command(name, ranks, warmup, timed):
    threads = 2 if ranks == 1 else 1
    arguments = [str(ROOT / "tests/bench/pytorch_gpt.py"), "--shape", name, "--warmup", str(warmup),
                 "--steps", str(timed), "--threads", str(threads)]
    if ranks == 1:
        return [str(PYTHON), *arguments]
    return [str(PYTHON), "-m", "torch.distributed.run", f"--nproc-per-node={ranks}", *arguments]


def run(command):
    done = subprocess.run(command, capture_output=True, text=True,
                          env={**os.environ, "TORCH_NCCL_ASYNC_ERROR_HANDLING": "0"})
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def measure_wattle(name, ranks):
    with tempfile.TemporaryDirectory() as folder:
        run(wattle_command(name, ranks, WARMUP + TIMED, pathlib.Path(folder)))
        lines = (pathlib.Path(folder) / "run/metrics.jsonl").read_text().splitlines()
        steps = [r for r in map(json.loads, lines) if r["phase"] == "train"][WARMUP:]
        return (statistics.median(s["tokens_per_s"] for s in steps),
                max(s["peak_memory_bytes"] for s in steps))


def measure_pytorch(name, ranks):
    figures = json.loads(run(pytorch_command(name, ranks, WARMUP, TIMED)).splitlines()[-1])
    return figures["tokens_per_s"], figures["peak_memory_bytes"]


def seconds_to_third_step(command):
    """From the start of the process to the line that says that the third step is done."""
    begin = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as p:
        for line in p.stdout:
            if line.startswith("step 3/"):
                seconds = time.perf_counter() - begin
                p.communicate()
                return seconds
    sys.exit(f"{' '.join(command)} never finished its third step")


def compare(label, wattle, pytorch, rounds):
    pairs = []
    for i in range(rounds):
        sides = [("wattle", wattle), ("pytorch", pytorch)]
        pair = {side: measure() for side, measure in (sides if i % 2 == 0 else reversed(sides))}
        pairs.append(pair)
        print(f"  {label}, round {i + 1}: {pair}", file=sys.stderr)
    return pairs


def throughput_row(name, ranks, rounds):
    label = f"GPT {name}, {ranks} rank{'s' if ranks > 1 else ''}"
    pairs = compare(label, lambda: measure_wattle(name, ranks),
                    lambda: measure_pytorch(name, ranks), rounds)

    def median(side, i):
        return statistics.median(pair[side][i] for pair in pairs)

    ratio = statistics.median(p["wattle"][0] / p["pytorch"][0] for p in pairs)
    return (f"| {label} | {median('wattle', 0):.0f} tok/s | {median('pytorch', 0):.0f} tok/s | "
            f"{ratio:.2f} | {median('wattle', 1) / 1e9:.2f} GB | {median('pytorch', 1) / 1e9:.2f} GB |")


def launch_row(rounds):
    def wattle():
        with tempfile.TemporaryDirectory() as folder:
            return seconds_to_third_step(wattle_command("tiny", 2, 3, pathlib.Path(folder)))

    pairs = compare("launch", wattle,
                    lambda: seconds_to_third_step(pytorch_command("tiny", 2, 0, 3)), rounds)
    ratio = statistics.median(p["wattle"] / p["pytorch"] for p in pairs)
    return (f"| launch to end of third step, tiny, 2 ranks | "
            f"{statistics.median(p['wattle'] for p in pairs):.2f} s | "
            f"{statistics.median(p['pytorch'] for p in pairs):.2f} s | {ratio:.2f} | | |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["124m", "10m", "launch"], help="one comparison alone")
    arguments = parser.parse_args()
    rounds, only = arguments.rounds, arguments.only
    processor = next(line.split(":")[1].strip() for line in open("/proc/cpuinfo")
                     if line.startswith("model name"))
    print(f"{os.cpu_count()} x {processor}, medians of {rounds} rounds\n")
    print("| | Wattle | PyTorch 2.11 | ratio | memory, Wattle | memory, PyTorch |")
    print("|---|---|---|---|---|---|")
    for name in ("124m", "10m"):
        for ranks in (1, 2) if only in (None, name) else ():
            print(throughput_row(name, ranks, rounds), flush=True)
    if only in (None, "launch"):
        print(launch_row(rounds), flush=True)


if __name__ == "__main__":
    main()
