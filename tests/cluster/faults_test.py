"""Faults at random moments, from seeds: after each of them nothing accepted is lost, nothing ran
twice at once, every job is in the right state, and a job that was started again lost at most its
last checkpoint interval.

Three seeds of each by default, WATTLE_FAULT_SEEDS=N for more.
"""

import concurrent.futures
import contextlib
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import tempfile
import threading
import time
import unittest

from cluster import BIN, GRACE, LEASE, ClusterTest, Cluster, eventually
from proxy import Proxy

SEEDS = range(1, 1 + int(os.environ.get("WATTLE_FAULT_SEEDS", "3")))
EVERY = 100  # steps between checkpoints
ENDLESS = 10**6
PATIENCE = 180  # seconds that a busy machine may take for what takes a tenth of it elsewhere

# Rank 0 holds a lock for as long as it lives, and stamps when it started; the trainer takes its
# place in the process and so keeps the lock.
TRAINER = """#!/bin/bash
if [ "${{OMPI_COMM_WORLD_RANK:-0}}" = 0 ]; then
  exec 9>>"{stamps}/lock-$WATTLE_JOB"
  flock -n 9 || echo "job $WATTLE_JOB runs twice" >>"{stamps}/violations"
  echo "$WATTLE_JOB $(date +%s.%N)" >>"{stamps}/starts"
fi
exec {trainer} "$@"
"""

# Two nodes that see one folder of jobs. A device that draws up to 405 W makes some 40 steps a second
# under the lowest limit, 45 W, whatever the machine: EVERY of them take longer than a checkpoint.
SHARED = "jobs_dir: @FOLDER@/jobs\njobs_dir_is_shared: true\n"
SLOW = {"agents": 2, "cap_watts": 65, "max_watts": 405, "agent": SHARED}
STOPPED = LEASE + GRACE / 3  # seconds of silence after which a node stops its runs by itself


class FaultTest(ClusterTest):
    def start_cluster(self, agent: str = "", **options) -> Cluster:
        """A cluster whose trainers stamp what they do; not started yet."""
        cluster = Cluster(agent=agent + "train_program: @FOLDER@/trainer.sh\n", **options)
        self.addCleanup(cluster.__exit__)
        self.stamps = cluster.folder / "stamps"
        self.stamps.mkdir()
        trainer = cluster.write("trainer.sh", TRAINER.format(stamps=self.stamps,
                                                             trainer=BIN / "wattle-train"))
        trainer.chmod(0o755)
        for name in cluster.nodes:
            text = (cluster.folder / f"{name}.yaml").read_text()
            cluster.write(f"{name}.yaml", text.replace("@FOLDER@", str(cluster.folder)))
        return cluster

    def job_file(self, cluster: Cluster, name: str, steps: int, ranks: int = 1, width: int = 512):
        return cluster.job_file(name, steps=steps, ranks=ranks, every=EVERY, width=width)

    def start_endless(self, cluster: Cluster, name: str) -> int:
        """A job that runs, with a checkpoint behind it."""
        job = cluster.submit("ada", self.job_file(cluster, name, ENDLESS))[0]
        cluster.wait_for_state(job, "RUNNING")
        self.wait_for_steps(cluster, name, EVERY + EVERY // 2)
        return job

    # ------------------------------------------------------------ invariants

    def assert_nothing_ran_twice(self):
        violations = self.stamps / "violations"
        self.assertEqual(violations.read_text() if violations.exists() else "", "")

    def starts_of(self, job: int) -> int:
        lines = (self.stamps / "starts").read_text().splitlines()
        return sum(line.split()[0] == str(job) for line in lines)

    def wait_for_starts(self, job: int, count: int):
        eventually(lambda: self.starts_of(job) >= count, f"job {job} starts {count} times", PATIENCE)
        self.assertEqual(self.starts_of(job), count)

    def attempts(self, cluster: Cluster, name: str) -> dict:
        """attempt → its steps, from every metrics.jsonl of jobs of this name."""
        attempts = {}
        for path in cluster.folder.glob("**/metrics.jsonl"):
            resolved = path.with_name("resolved.yaml")
            if not resolved.exists() or f"name: {name}\n" not in resolved.read_text():
                continue
            for line in path.read_text().splitlines():
                if line.endswith("}") and (record := json.loads(line))["phase"] == "train":
                    attempts.setdefault(record["attempt"], set()).add(record["step"])
        return attempts

    def wait_for_steps(self, cluster: Cluster, name: str, count: int):
        """Until the newest attempt has made so many."""
        def made():
            attempts = self.attempts(cluster, name)
            return attempts and len(attempts[max(attempts)]) >= count
        eventually(made, f"{name} makes {count} steps", PATIENCE, 0.2)

    def assert_lost_at_most_an_interval(self, cluster: Cluster, name: str, steps=None):
        """`steps`: all that there are; None: those that there were until it was cancelled."""
        attempts = self.attempts(cluster, name)
        self.assertTrue(attempts, f"{name} left no metrics")
        numbers = sorted(attempts)
        if steps:
            self.assertEqual(max(attempts[numbers[-1]]), steps)
        for before, after in zip(numbers, numbers[1:]):
            lost = max(attempts[before]) - (min(attempts[after]) - 1)
            self.assertLessEqual(lost, EVERY, f"{name}: attempt {after} of {numbers}")
        made = set().union(*attempts.values())
        self.assertEqual(made, set(range(1, max(made) + 1)))

    def end_endless(self, cluster: Cluster, name: str, job: int):
        """It still makes steps; then it is cancelled, and all is as it should be."""
        self.wait_for_steps(cluster, name, EVERY // 2)
        cluster.wattle("ada", "cancel", job)
        cluster.wait_for_state(job, "CANCELLED")
        self.assert_lost_at_most_an_interval(cluster, name)
        eventually(lambda: not self.ranks_of(cluster, job), "no rank is left")
        cluster.wait_for_nodes()

    def ranks_of(self, cluster: Cluster, job: int, count: int = 1) -> list:
        found = []
        for pid in cluster.ranks():
            try:
                with open(f"/proc/{pid}/environ", "rb") as file:
                    words = file.read().split(b"\0")
            except OSError:
                continue
            if f"WATTLE_JOB={job}".encode() in words:
                found.append(pid)
        return found if len(found) >= count else []

    def for_each_seed(self, scenario):
        for seed in SEEDS:
            with self.subTest(seed=seed):
                began = time.monotonic()
                scenario(seed, random.Random(seed))
                self.assert_nothing_ran_twice()
                print(f"{scenario.__qualname__.split('.')[1]} with seed {seed}: "
                      f"{time.monotonic() - began:.0f} s", flush=True)

    # ------------------------------------------------------------ the daemon

    def test_daemon_started_late(self):
        """A command that is there before the daemon waits for it."""
        cluster = self.start_cluster(agents=0)

        def scenario(_, draw):
            answers = []
            client = threading.Thread(target=lambda: answers.append(
                cluster.run("eve", "nodes", "--json", "--deadline", "60").stdout.strip()))
            client.start()
            time.sleep(draw.uniform(0.1, 3.0))
            cluster.start("wattled")
            client.join(PATIENCE)
            self.assertEqual(answers, ["[]"])
            cluster.kill("wattled")

        self.for_each_seed(scenario)

    def test_daemon_killed(self):
        """In the middle of submits and of launches; every submit is tried until it is answered."""
        cluster = self.start_cluster(agents=2).__enter__()

        def submit(seed: int, accepted: dict):
            for i in range(6):
                file = self.job_file(cluster, f"s{seed}-{i}", steps=2 * EVERY)
                request = f"request-{seed}-{i}"
                accepted[request] = (file, cluster.submit(
                    "ada", file, "--request-id", request, "--deadline", "60"))

        def scenario(seed, draw):
            accepted = {}
            client = threading.Thread(target=submit, args=(seed, accepted))
            client.start()
            for _ in range(3):
                time.sleep(draw.uniform(0.0, 1.5))
                cluster.kill("wattled")
                time.sleep(draw.uniform(0.0, 1.0))
                cluster.start("wattled")
            client.join(PATIENCE)
            self.assertEqual(len(accepted), 6, "not every submit was answered")
            numbers = [jobs[0] for _, jobs in accepted.values()]
            self.assertEqual(len(set(numbers)), 6)
            for request, (file, jobs) in accepted.items():
                self.assertEqual(cluster.submit("ada", file, "--request-id", request), jobs)
            for number in numbers:
                cluster.wait_for_state(number, "COMPLETED", timeout=PATIENCE)
            queue = cluster.json("ada", "queue", "--all")
            names = [job["name"] for job in queue if job["name"].startswith(f"s{seed}-")]
            self.assertEqual(sorted(names), [f"s{seed}-{i}" for i in range(6)])
            for i in range(6):
                self.assert_lost_at_most_an_interval(cluster, f"s{seed}-{i}", 2 * EVERY)

        self.for_each_seed(scenario)

    # ------------------------------------------------------------ a rank

    def test_rank_killed(self):
        """The job fails, as its program did; the one beside it is not touched."""
        cluster = self.start_cluster(agents=1, devices=3).__enter__()

        def scenario(seed, draw):
            victim = cluster.submit("ada", self.job_file(cluster, f"victim{seed}", ENDLESS, 2))[0]
            other = cluster.submit("bob", self.job_file(cluster, f"other{seed}", 2 * EVERY))[0]
            cluster.wait_for_state(victim, "RUNNING")
            ranks = eventually(lambda: self.ranks_of(cluster, victim, 2), "two ranks run")
            time.sleep(draw.uniform(0.0, 1.0))
            os.kill(draw.choice(ranks), signal.SIGKILL)
            ended = cluster.wait_for_state(victim, "FAILED")
            self.assertNotEqual(ended["exit_code"], 0)
            self.assertEqual(ended["reason"], "NonZeroExitCode")
            cluster.wait_for_state(other, "COMPLETED")
            self.assertEqual(self.starts_of(other), 1)
            eventually(lambda: not self.ranks_of(cluster, victim), "no rank is left", 30)

        self.for_each_seed(scenario)

    # ------------------------------------------------------------ an agent

    def test_agent_killed(self):
        """It comes back soon and finds its run again; or so late that the run was ended and goes on
        elsewhere; or all that it ran dies with it."""
        cluster = self.start_cluster(**SLOW).__enter__()

        def scenario(seed, draw):
            name = f"kept{seed}"
            job = self.start_endless(cluster, name)
            time.sleep(draw.uniform(0.0, 3.0))
            node = cluster.show(job)["nodes"][0]
            cluster.kill(node)
            if seed % 3 == 0:
                time.sleep(draw.uniform(0.0, STOPPED / 2))
            else:
                if seed % 3 == 1:
                    cluster.kill_below(cluster.folder / node)
                self.wait_for_starts(job, 2)
            cluster.start(node)
            self.end_endless(cluster, name, job)
            self.assertEqual(self.starts_of(job), 1 if seed % 3 == 0 else 2)

        self.for_each_seed(scenario)

    # ------------------------------------------------------------ the wire

    def test_partition(self):
        """The agent is cut off for less than its lease, for about as long as it may keep its runs,
        or until they go on elsewhere."""
        cluster = self.start_cluster(**SLOW)
        proxies = {}
        for name in cluster.nodes:
            proxies[name] = Proxy(cluster.address)
            self.addCleanup(proxies[name].close)
            text = (cluster.folder / f"{name}.yaml").read_text()
            cluster.write(f"{name}.yaml", text.replace(f"scheduler: {cluster.address}",
                                                       f"scheduler: {proxies[name].address}"))
        cluster.__enter__()

        def scenario(seed, draw):
            name = f"cut{seed}"
            job = self.start_endless(cluster, name)
            time.sleep(draw.uniform(0.0, 3.0))
            node = cluster.show(job)["nodes"][0]
            proxies[node].cut()
            if seed % 3 == 0:
                time.sleep(draw.uniform(0.2, LEASE / 2))
            elif seed % 3 == 1:
                time.sleep(draw.uniform(LEASE, LEASE + GRACE + 2))
            else:
                self.wait_for_starts(job, 2)
            proxies[node].mend()
            self.end_endless(cluster, name, job)
            self.assertIn(self.starts_of(job), ({1}, {1, 2}, {2})[seed % 3])

        self.for_each_seed(scenario)

    # ------------------------------------------------------------ a full disk

    def test_disk_full(self):
        """The daemon refuses what it can't keep, forgets nothing, and goes on when there is room."""
        mount = self.small_disk(24 + len(SEEDS))
        cluster = self.start_cluster(agents=1, daemon="reserve_bytes: 4194304",
                                     state_dir=mount / "state").__enter__()

        def scenario(seed, draw):
            running = cluster.submit("ada", self.job_file(cluster, f"long{seed}", 30 * EVERY,
                                                          width=64))[0]
            cluster.wait_for_state(running, "RUNNING")
            time.sleep(draw.uniform(0.0, 1.0))
            with self.full(mount):
                refused = cluster.run("ada", "submit", self.job_file(cluster, f"no{seed}", 20),
                                      "--no-plan", "--deadline", "30")
                self.assertEqual(refused.returncode, 1, refused.stdout)
                self.assertRegex(refused.stderr, "disk|space")
                if seed % 2 == 0:
                    time.sleep(draw.uniform(0.0, 5.0))  # the job may end meanwhile
            self.assertIsNone(cluster.processes["wattled"].poll(), cluster.log()[-2000:])
            cluster.wait_for_state(running, "COMPLETED")
            later = eventually(lambda: self.try_submit(cluster, f"yes{seed}"), "submits are taken")
            cluster.wait_for_state(later, "COMPLETED")
            cluster.kill("wattled")
            cluster.start("wattled")
            cluster.wait_for_nodes()
            self.assertEqual([cluster.show(job)["state"] for job in (running, later)],
                             ["COMPLETED"] * 2)
            self.assertNotIn(f"no{seed}", cluster.wattle("eve", "queue", "--all", "--json"))

        self.for_each_seed(scenario)

    def test_disk_full_at_a_node(self):
        """It swallows no jobs: after a few it is drained, and says why."""
        mount = self.small_disk(128)
        cluster = self.start_cluster(agents=1)
        (cluster.folder / "n1").symlink_to(mount)
        cluster.__enter__()
        with self.full(mount):
            jobs = [cluster.submit("ada", self.job_file(cluster, name, 20))[0] for name in "ab"]
            eventually(lambda: "DRAIN" in cluster.wattle("eve", "nodes"), "the node is drained")
            self.assertRegex(cluster.wattle("eve", "nodes"), "could not be started.*space")
            for job in jobs:
                self.assertEqual(cluster.show(job)["state"], "PENDING")
            explained = [cluster.wattle("eve", "explain", job) for job in jobs]
            self.assertRegex("".join(explained), "NodeStartFailure.*space")
        cluster.wattle("eve", "undrain", "n1")
        for job in jobs:
            cluster.wait_for_state(job, "COMPLETED")

    def test_disk_full_under_a_run(self):
        """Its trainer fails at a checkpoint: the job goes on when there is room."""
        mount = self.small_disk(128)
        cluster = self.start_cluster(agents=1)
        (cluster.folder / "n1").symlink_to(mount)
        cluster.__enter__()
        job = cluster.submit("ada", self.job_file(cluster, "full", 30 * EVERY))[0]
        eventually(lambda: [*mount.glob(f"**/step-{EVERY}")], "there is a checkpoint", 60)
        with self.full(mount):
            eventually(lambda: re.search("could not go on.*(No space left|disk full)",
                                         cluster.wattle("eve", "explain", job)),
                       "the run ends without blame", 60)
            self.assertIn(cluster.show(job)["state"], ("PENDING", "PREEMPTED", "RUNNING"))
        cluster.run("eve", "undrain", "n1")
        cluster.wait_for_state(job, "COMPLETED")

    def test_uploads_leave_the_reserve(self):
        """Each of two files fits when it begins, but not both of them."""
        mount, reserve = self.small_disk(24), 4 << 20
        cluster = self.start_cluster(agents=1, daemon=f"reserve_bytes: {reserve}",
                                     state_dir=mount / "state").__enter__()
        file = self.job_file(cluster, "small", 20)
        inputs = []
        for name, size in (("a", 12 << 20), ("b", 12 << 20), ("c", 60 << 20)):
            path = cluster.folder / name
            path.write_bytes(name.encode() * size)
            inputs.append(["ada", "submit", file, "--no-plan", "--input", f"{path}=data",
                           "--deadline", "30"])
        self.assertRegex(cluster.wattle(*inputs[2], expect=1), "nearly full")
        with concurrent.futures.ThreadPoolExecutor() as pool:
            done = list(pool.map(lambda words: cluster.run(*words), inputs[:2]))
        self.assertIn(1, [d.returncode for d in done])
        space = os.statvfs(mount)
        self.assertGreaterEqual(space.f_bavail * space.f_frsize, reserve - (2 << 20))
        for d in done:
            self.assertTrue(d.returncode == 0 or "nearly full" in d.stderr, d.stderr)

    def try_submit(self, cluster: Cluster, name: str):
        done = cluster.run("ada", "submit", self.job_file(cluster, name, 20), "--no-plan",
                           "--parsable")
        return int(done.stdout) if done.returncode == 0 else None

    def small_disk(self, megabytes: int):
        mount = pathlib.Path(tempfile.mkdtemp(prefix="wattle-disk-"))
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", mount],
                       check=True)
        self.addCleanup(mount.rmdir)
        self.addCleanup(subprocess.run, ["umount", "--lazy", mount])
        return mount

    @contextlib.contextmanager
    def full(self, mount):
        """Not a byte is left there."""
        ballast = mount / "ballast"
        with open(ballast, "wb", buffering=0) as file:
            for size in (1 << 16, 1 << 10, 1):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(b"x" * size)
        try:
            yield
        finally:
            ballast.unlink()


if __name__ == "__main__":
    unittest.main()
