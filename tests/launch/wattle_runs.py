"""The vocabulary of the tests that launch whole runs: small texts and configurations, `mpirun`, and
readers of what a run leaves. Only Python's standard library is needed.
"""

import json
import math
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

CRASH = "terminate called|Segmentation|Signal code|Traceback|Exception raised from|AddressSanitizer"

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
            "run": f"{{seed: 7, output_dir: {output}, threads: 1}}",
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
                              capture_output=True, text=True, errors="replace",
                              timeout=timeout,
                              env={**os.environ, **(environment or {})})
        self.assertEqual(done.returncode, expect, done.stdout + done.stderr)
        self.assertNotRegex(done.stdout + done.stderr, CRASH)
        return done

    def start(self, config, ranks: int = 1, overrides=()) -> subprocess.Popen:
        """Starts a run in a process group of its own and leaves it running."""
        sets = [word for override in overrides for word in ("--set", override)]
        process = subprocess.Popen(self.command(config, ranks) + sets, cwd=self.folder, text=True,
                                   errors="replace", stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, start_new_session=True)
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

    def ranks_of(self, process: subprocess.Popen) -> list:
        """The ranks' processes below mpirun, in rank order."""
        return ranks_of(process.pid)

    def wait_for_step(self, output: str, step: int, timeout: float = 120):
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if any(r["step"] >= step for r in self.metrics(output) if r["phase"] == "train"):
                return
            time.sleep(0.02)
        self.fail(f"{output} did not reach step {step} in {timeout} s")

    def wait_for_file(self, name: str, timeout: float = 60):
        deadline = time.monotonic() + timeout
        while not (self.folder / name).exists():
            self.assertLess(time.monotonic(), deadline, f"{name} did not appear in {timeout} s")
            time.sleep(0.002)

    def metrics(self, output: str) -> list:
        path = self.folder / output / "metrics.jsonl"
        if not path.exists():
            return []
        lines = path.read_text().splitlines()
        return [json.loads(line) for line in lines if line.endswith("}")]

    def train_metrics(self, output: str) -> list:
        return [r for r in self.metrics(output) if r["phase"] == "train"]

    def checkpoints(self, output: str) -> list:
        """The folders step-N, oldest first."""
        folder = self.folder / output / "checkpoints"
        whole = [path for path in folder.glob("step-*") if re.fullmatch(r"step-\d+", path.name)]
        return sorted(whole, key=lambda path: int(path.name[5:]))

    def last_checkpoint(self, output: str) -> pathlib.Path:
        self.assertTrue(self.checkpoints(output), f"{output} has no checkpoint")
        return self.checkpoints(output)[-1]

    def state(self, output: str) -> dict:
        """The tensors of the last checkpoint, name → (type, bytes): of model, optimizer, buffers."""
        return checkpoint_tensors(self.last_checkpoint(output))

    def meta(self, output: str) -> dict:
        return json.loads((self.last_checkpoint(output) / "meta.json").read_text())

    def report(self, output: str) -> dict:
        return json.loads((self.folder / output / "report.json").read_text())

    def error_json(self, output: str) -> dict:
        return json.loads((self.folder / output / "error.json").read_text())

    def assert_same_bytes(self, one: dict, other: dict):
        self.assertEqual(one.keys(), other.keys())
        for name in one:
            # assertEqual would take minutes to show how two tensors' bytes differ.
            self.assertTrue(one[name] == other[name], f"{name} differs")


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
    """Joins the pieces of every tensor of a checkpoint, as docs/CHECKPOINTS.md lays them out:
    name → (type, bytes)."""
    tensors, missing = {}, {}
    for shard in sorted(folder.glob("shard-*.safetensors")):
        for name, kind, region, data in pieces_of(shard.read_bytes()):
            numel = math.prod(region["global_shape"])
            item = len(data) // max(1, region["range"][1] - region["range"][0])
            _, whole = tensors.setdefault(name, (kind, bytearray(numel * item)))
            for at, to, count in runs_of(region):
                whole[to * item:(to + count) * item] = data[at * item:(at + count) * item]
                missing[name] = missing.get(name, numel) - count
    for name, count in missing.items():
        if count != 0:
            raise AssertionError(f"{folder}: {name}: {count} elements are in no shard")
    return {name: (kind, bytes(whole)) for name, (kind, whole) in tensors.items()}


def pieces_of(shard: bytes):
    """(name, type, region, bytes) of each piece in a shard."""
    first = 8 + int.from_bytes(shard[:8], "little")
    header = json.loads(shard[8:first])
    regions = json.loads(header.pop("__metadata__")["regions"])
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        yield name, entry["dtype"], regions[name], shard[first + begin:first + end]


def runs_of(region: dict):
    """(where in the piece, where in the whole tensor, how many) of elements that lie together."""
    shape, offset, box = (region[key] for key in ("global_shape", "box_offset", "box_shape"))
    begin, end = region["range"]
    if box == shape:
        yield 0, begin, end - begin
        return
    for at in range(begin, end):
        rest, to, stride = at, 0, 1
        for whole, first, extent in reversed(list(zip(shape, offset, box))):
            rest, along = divmod(rest, extent)
            to += (first + along) * stride
            stride *= whole
        yield at - begin, to, 1


def floats(tensor) -> list:
    kind, data = tensor
    code = {"F32": "f", "F64": "d"}[kind]
    return list(struct.unpack(f"<{len(data) // struct.calcsize(code)}{code}", data))


def relative_difference(one, other) -> float:
    """‖a - b‖ / ‖b‖ of two tensors."""
    a, b = floats(one), floats(other)
    distance = sum((x - y) ** 2 for x, y in zip(a, b)) ** 0.5
    return distance / max(sum(y * y for y in b) ** 0.5, 1e-300)
