"""The vocabulary of the agent's tests: agents as their operators start them, a daemon that does what
the test says, and real training jobs.
"""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "launch"))

from fake_daemon import FakeDaemon, GENEROUS
from wattle_runs import BIN, english

IDLE, MAX, LOWEST = 10, 50, 14  # watts of a device of these tests

# Stand-ins for the trainer.
SLEEPER = "trap 'exit 75' USR1\nwhile true; do sleep 0.1; done\n"
STUBBORN = "trap '' USR1 TERM\nwhile true; do sleep 0.1; done\n"
BUSY = "trap 'exit 75' USR1\nwhile true; do :; done\n"


def processes_of(folder) -> list:
    """Processes that carry the mark of a run below the folder, keepers and dead ones left out."""
    found = []
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes().split(b"\0")
            state = (process / "stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            continue
        if state in "ZX":
            continue
        if any(e.startswith(b"WATTLE_RUN=" + str(folder).encode()) for e in environment):
            found.append(int(process.name))
    return found


class Agent:
    """A `wattle-agent` process and its folder."""

    def __init__(self, folder: pathlib.Path, name: str, daemon_address: str, prefix=(), **options):
        self.folder = folder
        self.name = name
        self.prefix = list(prefix)
        self.work = folder / f"work-{name}"
        lines = {
            "scheduler": daemon_address, "name": name, "insecure_loopback": "true",
            "work_dir": self.work, "meter": "model",
            "devices": f"[{{type: cpu, count: 2, idle_watts: {IDLE}, max_watts: {MAX}}}]",
            "stop_grace_seconds": 30,
        } | options
        self.config = folder / f"{name}.yaml"
        self.config.write_text("".join(f"{key}: {value}\n" for key, value in lines.items()))
        self.log_path = folder / f"{name}.log"
        self.process = None

    def start(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([*self.prefix, str(BIN / "wattle-agent"),
                                             str(self.config)], stdout=log, stderr=log)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def run_folder(self, token: int) -> pathlib.Path:
        return self.work / "runs" / str(token)

    def keeper(self, token: int) -> int:
        """The process that keeps a run."""
        [pid] = subprocess.run(["pgrep", "-f", f"wattle-agent keep {self.run_folder(token)}$"],
                               capture_output=True, text=True).stdout.split()
        return int(pid)

    def job(self, job: int) -> pathlib.Path:
        return self.work / "jobs" / str(job)

    def metrics(self, job: int) -> list:
        path = self.job(job) / "out" / "metrics.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line) for line in lines if line.endswith("}")]

    def cap(self, job: int) -> float:
        path = self.job(job) / "out" / "control.json"
        return json.loads(path.read_text())["power_cap_watts"] if path.exists() else 0


class AgentTest(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="wattle-agent-test-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.daemon = FakeDaemon()
        self.addCleanup(lambda: self.daemon.stop())
        self.agents = []
        self.addCleanup(self.end_all)

    def end_all(self):
        for agent in self.agents:
            if agent.process and agent.process.poll() is None:
                agent.kill()
        for pid in processes_of(self.folder):
            self.kill_quietly(pid)
        if os.environ.get("WATTLE_SHOW_LOGS") or (self._outcome and not self._outcome.success):
            for agent in self.agents:
                print(f"---- log of {agent.name}\n{agent.log()}", file=sys.stderr)

    @staticmethod
    def kill_quietly(pid: int, number=signal.SIGKILL):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass

    def agent(self, name: str = "n1", start: bool = True, **options) -> Agent:
        address = f"127.0.0.1:{self.daemon.port}"
        agent = Agent(self.folder, name, address, **options)
        self.agents.append(agent)
        if start:
            agent.start()
            self.daemon.wait_registered(name)
        return agent

    def stall_stores(self):
        """What is sent to the daemon is not answered: an event for that it comes, and one that lets
        it go on."""
        stored, goes_on = threading.Event(), threading.Event()

        def store(chunks, context):
            stored.set()
            goes_on.wait(2 * GENEROUS)
            return next(chunks).file
        self.addCleanup(goes_on.set)
        self.daemon.stop()
        self.daemon.store = store
        self.daemon.start()
        return stored, goes_on

    def program(self, text: str) -> pathlib.Path:
        """A stand-in for wattle-train: a shell script that is given the same arguments."""
        path = self.folder / f"program-{len(list(self.folder.glob('program-*')))}"
        path.write_text("#!/bin/bash\n" + text)
        path.chmod(0o755)
        return path

    def yaml(self, steps: int = 6, every: int = 2, output_dir: str = "out") -> str:
        return (f"run: {{seed: 7, output_dir: {output_dir}}}\n"
                "model: {family: gpt2, layers: 2, width: 32, heads: 2, vocab: 256, positions: 32}\n"
                "data: {kind: text, path: text.txt, tokenizer: bytes, sequence_length: 32}\n"
                f"train: {{steps: {steps}, global_batch: 4, micro_batch: 2}}\n"
                "optimizer: {name: adamw, lr: 1.0e-2}\n"
                f"checkpoint: {{every: {every}, keep: 2}}\n")

    def text(self) -> list:
        return [self.daemon.add_file("text.txt", english(20000).encode())]

    def wait(self, what: str, condition, timeout: float = GENEROUS):
        return self.daemon.wait(what, condition, timeout)

    def wait_mean_watts(self, node: str, wanted, samples: int = 10, seconds: float = 60):
        """Until the mean of the last samples, all of them from now on, is as wanted."""
        start = len(self.daemon.all_said("measured", node))

        def settled():
            watts = [m.watts for m in self.daemon.all_said("measured", node)[start:]]
            return len(watts) >= samples and wanted(sum(watts[-samples:]) / samples)
        self.wait(f"{node} draws as wanted", settled, seconds)

    def wait_gone(self, folder, timeout: float = GENEROUS):
        self.wait("all processes of the run end", lambda: not processes_of(folder), timeout)
