"""The vocabulary of the tests that run a whole cluster on this machine: a site of its own, wattled,
agents, and users with certificates. Everything lies in one folder and ends with the test.
"""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("WATTLE_BIN", ROOT / "build" / "bin"))

LEASE, GRACE = 4, 8  # seconds that a node may go on as it was, and then its runs, without the daemon

FINISHED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"}

JOB = """
run:        {{name: {name}, seed: 1, output_dir: run, threads: 1}}
model:      {{family: mlp, inputs: {width}, hidden: [{width}, {width}], outputs: 1}}
data:       {{kind: random, samples: 64, inputs: {width}}}
train:      {{steps: {steps}, global_batch: 8, micro_batch: 2}}
optimizer:  {{name: sgd, lr: 1.0e-3}}
checkpoint: {{every: {every}, keep: 2}}
energy:     {{meter: model, idle_watts: 1, max_watts: 10}}
job:        {{ranks: {{min: {ranks}, max: {ranks}}}}}
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def eventually(condition, what: str, timeout: float = 60, pause: float = 0.1):
    """Waits until the condition holds and returns its value."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {timeout} s")
        time.sleep(pause)
    return value


class Cluster:
    """A site with a daemon and agents as processes. `with Cluster() as cluster: ...`"""

    def __init__(self, agents: int = 1, devices: int = 2, daemon: str = "", agent: str = "",
                 state_dir=None, cap_watts: float = 1000, max_watts: float = 25,
                 host: str = "127.0.0.1", prefixes=None):
        """`daemon`, `agent`: more lines of their files (an agent's {folder} is the cluster's);
        `prefixes`: words before an agent's command, by its node."""
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="wattle-cluster-"))
        self.host = host
        self.prefixes = prefixes or {}
        self.address = f"{host}:{free_port()}"
        self.metrics = f"127.0.0.1:{free_port()}"
        self.processes = {}
        self.make_site(agents)
        self.write("cluster.yaml", f"""
listen: {self.address}
metrics_listen: {self.metrics}
state_dir: {state_dir or self.folder / 'daemon'}
tls: {self.tls('daemon')}
cap_watts: {cap_watts}
lease_seconds: {LEASE}
orphan_grace_seconds: {GRACE}
heartbeat_seconds: 0.5
report_seconds: 0.5
{daemon}""")
        for name in self.nodes:
            self.write(f"{name}.yaml", f"""
scheduler: {self.address}
name: {name}
tls: {self.tls('node-' + name)}
work_dir: {self.folder / name}
devices: [{{type: test-cpu, count: {devices}, idle_watts: 5, max_watts: {max_watts}}}]
meter: model
stop_grace_seconds: 5
{agent.replace('{folder}', str(self.folder))}""")

    def __enter__(self):
        self.start("wattled")
        for name in self.nodes:
            self.start(name)
        self.wait_for_nodes()
        return self

    def __exit__(self, *_):
        for name in list(self.processes):
            self.kill(name)
        self.kill_leftovers()
        shutil.rmtree(self.folder, ignore_errors=True)

    # ------------------------------------------------------------ what it is made of

    def make_site(self, agents: int):
        self.nodes = [f"n{i + 1}" for i in range(agents)]
        self.certs("init", "--site", "test")
        self.certs("issue", "daemon", "--host", self.host)
        for name in self.nodes:
            self.certs("issue", "node", name)
        for user, tenant, role in (("ada", "team-a", "user"), ("amy", "team-a", "tenant-admin"),
                                   ("bob", "team-b", "user"), ("eve", "ops", "operator")):
            self.certs("issue", "user", user, "--tenant", tenant, "--role", role)

    def certs(self, *arguments: str, folder: str = "certs"):
        subprocess.run([BIN / "wattle", "certs", *arguments, "--dir", self.folder / folder],
                       check=True, capture_output=True, timeout=60)

    def tls(self, name: str, folder: str = "certs") -> str:
        certs = self.folder / folder
        return f"{{ca: {certs}/ca.crt, cert: {certs}/{name}.crt, key: {certs}/{name}.key}}"

    def write(self, name: str, text: str) -> pathlib.Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def job_file(self, name: str = "tiny", steps: int = 20, ranks: int = 1, every: int = 5,
                 width: int = 8) -> pathlib.Path:
        return self.write(f"{name}.yaml", JOB.format(name=name, steps=steps, ranks=ranks,
                                                     every=every, width=width))

    # ------------------------------------------------------------ processes

    def start(self, name: str):
        """wattled or an agent, in a process group of its own; its log goes on."""
        program, config = ("wattled", "cluster") if name == "wattled" else ("wattle-agent", name)
        with open(self.folder / f"{name}.log", "ab") as log:
            self.processes[name] = subprocess.Popen(
                [*self.prefixes.get(name, ()), BIN / program, self.folder / f"{config}.yaml"],
                cwd=self.folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                start_new_session=True)

    def kill(self, name: str, signal_number: int = signal.SIGKILL):
        process = self.processes.pop(name)
        process.send_signal(signal_number)
        process.wait(30)

    def log(self, name: str = "wattled") -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def own_processes(self, program: str = "", folder=None) -> list:
        """Ids of all processes that name the folder in command line, environment or directory."""
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                words = (entry / "cmdline").read_bytes()
                where = words + (entry / "environ").read_bytes() + os.readlink(entry / "cwd").encode()
            except (OSError, PermissionError):
                continue
            if str(folder or self.folder).encode() in where and program.encode() in words:
                found.append(int(entry.name))
        return found

    def ranks(self) -> list:
        """Ids of the trainer's processes, mpirun and keepers not counted."""
        return [pid for pid in self.own_processes("wattle-train")
                if pathlib.Path(f"/proc/{pid}/comm").read_text().startswith("wattle-train")]

    def kill_leftovers(self):
        self.kill_below(self.folder)

    def kill_below(self, folder: pathlib.Path):
        """Kills what names the folder, and what that starts meanwhile, until nothing is left."""
        for _ in range(50):
            left = self.own_processes(folder=folder)
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            if not left:
                return
            time.sleep(0.05)

    # ------------------------------------------------------------ users

    def run(self, user: str, *arguments, timeout: float = 120) -> subprocess.CompletedProcess:
        """The command as a user; certificates of `certs/` unless the arguments name others."""
        certs = self.folder / "certs"
        environment = {**os.environ, "WATTLE_CONFIG": "/dev/null", "WATTLE_SERVER": self.address,
                       "WATTLE_CA": f"{certs}/ca.crt", "WATTLE_CERT": f"{certs}/user-{user}.crt",
                       "WATTLE_KEY": f"{certs}/user-{user}.key"}
        return subprocess.run([BIN / "wattle", *map(str, arguments)], capture_output=True, text=True,
                              timeout=timeout, env=environment, cwd=self.folder)

    def wattle(self, user: str, *arguments, expect: int = 0) -> str:
        """The same; checks the exit code and returns what was printed (errors if it is not 0)."""
        done = self.run(user, *arguments)
        if done.returncode != expect:
            raise AssertionError(f"wattle {arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
                                 f"\nwattled: {self.log()[-2000:]}")
        return done.stdout if expect == 0 else done.stderr

    def json(self, user: str, *arguments):
        return json.loads(self.wattle(user, *arguments, "--json"))

    def submit(self, user: str, file, *arguments) -> list:
        """Numbers of the jobs that were accepted."""
        words = self.wattle(user, "submit", file, "--no-plan", "--parsable", *arguments).split()
        return [int(word) for word in words]

    def show(self, job: int) -> dict:
        return self.json("eve", "show", job)["summary"]

    def wait_for_state(self, job: int, *states: str, timeout: float = 120) -> dict:
        """Waits for one of the states; another end than one of them is an error."""
        def reached():
            summary = self.show(job)
            if summary["state"] in FINISHED - set(states):
                raise AssertionError(f"job {job} is {summary['state']}, expected {states}: "
                                     f"{self.wattle('eve', 'explain', job)}"
                                     f"{self.wattle('eve', 'logs', job)[-2000:]}")
            return summary if summary["state"] in states else None
        try:
            return eventually(reached, f"job {job} becomes {' or '.join(states)}", timeout, 0.2)
        except AssertionError as error:
            said = [self.wattle("eve", *words) for words in (("explain", job), ("nodes",))]
            logs = [f"{name}: {self.log(name)[-2000:]}" for name in ("wattled", *self.nodes)]
            raise AssertionError("\n".join([str(error), *said, *logs])) from None

    def wait_for_nodes(self, count=None):
        wanted = len(self.nodes) if count is None else count
        def all_up():
            done = self.run("eve", "nodes", "--json")
            up = [n for n in json.loads(done.stdout or "[]") if n["state"] == "UP"]
            return len(up) == wanted
        eventually(all_up, f"{wanted} nodes are up", 60, 0.2)


class ClusterTest(unittest.TestCase):
    def cluster(self, **options) -> Cluster:
        cluster = Cluster(**options)
        self.addCleanup(cluster.__exit__)
        return cluster.__enter__()
