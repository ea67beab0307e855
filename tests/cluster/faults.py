"""What tests of faults share: a cluster whose trainers stamp what they do, and what has to hold after
each fault.

Three seeds of each fault by default, WATTLE_FAULT_SEEDS=N for more.
"""

import json
import os
import random
import time

from cluster import BIN, GRACE, LEASE, Cluster, ClusterTest, eventually

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


class FaultCase(ClusterTest):
    """A test that lets faults happen, with words for what holds after each."""

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
