"""The vocabulary of the tests that launch whole runs: small texts and configurations, `mpirun`, and
readers of what a run leaves. Only Python's standard library is needed.
"""

import json
import os
import pathlib
import random
import re
import shutil
import signal
import struct
import subprocess
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("WATTLE_BIN", ROOT / "build" / "bin"))
DATA = ROOT / "data"

TINY_GPT = "model: {family: gpt2, layers: 2, width: 32, heads: 2, vocab: 256, positions: 32}"


def english(size: int, seed: int = 1) -> str:
    """A text with something to learn in it: words of a small vocabulary, by a seeded draw."""
    draw = random.Random(seed)
    words = ["the", "lord", "said", "unto", "moses", "and", "earth", "was", "without", "form"]
    text = ""
    while len(text) < size:
        text += draw.choice(words) + draw.choice([" ", " ", " ", ". "])
    return text[:size]


class RunTest(unittest.TestCase):
    """A test with a folder of its own, in which runs write and from which paths are relative."""

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="wattle-test-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def write(self, name: str, content) -> pathlib.Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def text_config(self, output: str = "run", model: str = TINY_GPT, **sections) -> pathlib.Path:
        """run.yaml of a tiny language model on a small text; sections replace or add lines."""
        if not (self.folder / "text.txt").exists():
            self.write("text.txt", english(20000))
        lines = {
            "run": f"{{seed: 7, output_dir: {output}}}",
            "data": "{kind: text, path: text.txt, tokenizer: bytes, sequence_length: 32, "
                    "validation: 0.1}",
            "train": "{steps: 6, global_batch: 12, micro_batch: 2}",
            "optimizer": "{name: adamw, lr: 1.0e-2}",
            "checkpoint": "{every: 2, keep: 3}",
            "energy": "{meter: model, idle_watts: 10, max_watts: 50}",
        } | sections
        body = model + "\n" + "\n".join(f"{key}: {value}" for key, value in lines.items())
        return self.write(f"{output}.yaml", body + "\n")

    def command(self, config, ranks: int, *arguments: str) -> list:
        program = [str(BIN / "wattle-train"), *arguments, str(config)]
        if ranks == 0:
            return program
        root = ["--allow-run-as-root"] if os.geteuid() == 0 else []
        return ["mpirun", *root, "--oversubscribe", "--bind-to", "none", "-np", str(ranks), *program]

    def train(self, config, ranks: int = 1, overrides=(), expect: int = 0, timeout: float = 240,
              arguments=(), environment=None) -> subprocess.CompletedProcess:
        """Runs to the end and checks the exit code. ranks=0 runs without mpirun."""
        sets = [word for override in overrides for word in ("--set", override)]
        done = subprocess.run(self.command(config, ranks, *arguments) + sets, cwd=self.folder,
                              capture_output=True, text=True, timeout=timeout,
                              env={**os.environ, **(environment or {})})
        self.assertEqual(done.returncode, expect, done.stdout + done.stderr)
        return done

    def start(self, config, ranks: int = 1, overrides=()) -> subprocess.Popen:
        """Starts a run in a process group of its own and leaves it running."""
        sets = [word for override in overrides for word in ("--set", override)]
        process = subprocess.Popen(self.command(config, ranks) + sets, cwd=self.folder, text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   start_new_session=True)
        self.addCleanup(self.kill_group, process)
        return process

    def kill_group(self, process: subprocess.Popen):
        """SIGKILL to mpirun and every rank, as a power failure would."""
        for pid in [process.pid, *ranks_of(process.pid)]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        process.wait()
        if process.stdout:
            process.stdout.close()

    def wait_for_step(self, output: str, step: int, timeout: float = 120):
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if any(r["step"] >= step for r in self.metrics(output) if r["phase"] == "train"):
                return
            time.sleep(0.02)
        self.fail(f"{output} did not reach step {step} in {timeout} s")

    def metrics(self, output: str) -> list:
        path = self.folder / output / "metrics.jsonl"
        if not path.exists():
            return []
        lines = path.read_text().splitlines()
        return [json.loads(line) for line in lines if line.endswith("}")]

    def train_metrics(self, output: str) -> list:
        return [r for r in self.metrics(output) if r["phase"] == "train"]

    def parameters(self, output: str) -> dict:
        """The tensors of the last checkpoint: name → (type, bytes), of weights and optimizer."""
        checkpoints = sorted((self.folder / output / "checkpoints").glob("step-*"),
                             key=lambda p: int(p.name.split("-")[1]))
        self.assertTrue(checkpoints, f"{output} has no checkpoint")
        return checkpoint_tensors(checkpoints[-1])

    def assert_same_bytes(self, one: dict, other: dict):
        self.assertEqual(one.keys(), other.keys())
        for name in one:
            self.assertEqual(one[name], other[name], f"{name} differs")


def children_of(pid: int) -> list:
    try:
        return [int(p) for p in
                pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def ranks_of(mpirun: int) -> list:
    """The ranks' processes below mpirun, in rank order."""
    found = []
    for pid in children_of(mpirun):
        try:
            environment = pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        for entry in environment:
            if match := re.fullmatch(rb"OMPI_COMM_WORLD_RANK=(\d+)", entry):
                found.append((int(match[1]), pid))
    return [pid for _, pid in sorted(found)]


def checkpoint_tensors(folder: pathlib.Path) -> dict:
    """Joins the pieces of every tensor of a checkpoint, as docs/CHECKPOINTS.md lays them out."""
    raise NotImplementedError


def floats(tensor) -> list:
    kind, data = tensor
    code = {"F32": "f", "F64": "d"}[kind]
    return list(struct.unpack(f"<{len(data) // struct.calcsize(code)}{code}", data))


def relative_difference(one, other) -> float:
    """‖a - b‖ / ‖b‖ of two tensors."""
    a, b = floats(one), floats(other)
    distance = sum((x - y) ** 2 for x, y in zip(a, b)) ** 0.5
    return distance / max(sum(y * y for y in b) ** 0.5, 1e-300)
