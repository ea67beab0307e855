"""What int8 weights and activations cost in accuracy: the runs of configs/train in float and for
int8, paired over the folds of the digits, and on random labels how many classes agree.

    python3 tests/bench/int8_accuracy.py [--ranks 2] [--folds 5] [--model resnet --model vgg --model mlp]

Words go to standard error, figures as one JSON object to standard output.

The two runs of a pair have the same seed, data, batches and steps and differ by `compression` alone:
the shipped files train both (`float_run:`).
On random labels two runs that differ by a rounding soon are two models, whose guesses about samples
that neither has seen agree no better than chance allows. The int8 model is therefore compared with
the float model that it is the rounding of: the master weights of the same checkpoint
(`evaluate.masters`), on the validation set. The agreement with the other run is printed beside it.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("WATTLE_BIN", ROOT / "build" / "bin"))


def wattle(config: str, ranks: int, sets: list, command: tuple = ()) -> str:
    root = ["--allow-run-as-root"] if os.geteuid() == 0 else []
    words = [word for one in sets for word in ("--set", one)]
    done = subprocess.run(
        ["mpirun", *root, "--oversubscribe", "--bind-to", "none", "-np", str(ranks),
         BIN / "wattle-train", *command, ROOT / "configs/train" / config, *words],
        cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    return done.stdout


def say(line: str):
    print(line, file=sys.stderr, flush=True)


def accuracy(config: str, ranks: int, sets: list) -> float:
    return 100 * json.loads(wattle(config, ranks, sets, ("eval", "--json")))["accuracy"]


def paired(model: str, ranks: int, folds: int, folder: str) -> dict:
    """The digits: float and int8 on the same folds."""
    differences = []
    for fold in range(folds):
        output = f"{folder}/{model}-{fold}"
        fixed = [f"data.folds={folds}", f"data.fold={fold}", "run.deterministic=true",
                 "train.micro_batch=8"]
        sets = [*fixed, f"run.output_dir={output}"]
        wattle(f"{model}_digits_int8.yaml", ranks, sets)
        rounded = accuracy(f"{model}_digits_int8.yaml", ranks, sets)
        in_float = accuracy(f"{model}_digits.yaml", ranks,
                            [*fixed, f"run.output_dir={output}/float"])
        differences.append(rounded - in_float)
        say(f"{model} fold {fold}: float {in_float:.2f} %, int8 {rounded:.2f} %, "
            f"difference {differences[-1]:+.2f} points")
    error = statistics.stdev(differences) / folds ** 0.5 if folds > 1 else None
    return {"difference_points": statistics.mean(differences), "standard_error": error,
            "folds": folds}


def classes(ranks: int, sets: list, folder: str, config: str = "mlp_random_int8.yaml") -> list:
    path = f"{folder}/predictions.csv"
    wattle(config, ranks, [*sets, f"evaluate.predictions={path}"], ("eval",))
    lines = pathlib.Path(path).read_text().splitlines()
    column = lines[0].split(",").index("output_0")
    return [float(line.split(",")[column]) > 0 for line in lines[1:]]


def agreement(one: list, other: list) -> float:
    return 100 * statistics.mean(a == b for a, b in zip(one, other, strict=True))


def random_labels(ranks: int, seeds: int, folder: str) -> dict:
    found = []
    for seed in range(1, seeds + 1):
        output = f"{folder}/mlp-{seed}"
        fixed = [f"run.seed={seed}", "train.micro_batch=8", "run.deterministic=true"]
        sets = [*fixed, f"run.output_dir={output}"]
        wattle("mlp_random_int8.yaml", ranks, sets)
        rounded = classes(ranks, sets, folder)
        found.append(agreement(rounded, classes(ranks, [*sets, "evaluate.masters=true"], folder)))
        float_run = classes(ranks, [*fixed, f"run.output_dir={output}/float"], folder,
                            "mlp_random.yaml")
        say(f"mlp seed {seed}: {found[-1]:.1f} % of the classes agree with the float weights, "
            f"{agreement(rounded, float_run):.1f} % with the float run")
    return {"agreement_percent": statistics.mean(found), "seeds": seeds}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=5, help="of the runs on random labels")
    parser.add_argument("--model", action="append", choices=["resnet", "vgg", "mlp"])
    options = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory(prefix="wattle-int8-") as folder:
        for model in options.model or ["resnet", "vgg", "mlp"]:
            if model == "mlp":
                found[model] = random_labels(options.ranks, options.seeds, folder)
            else:
                found[model] = paired(model, options.ranks, options.folds, folder)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
