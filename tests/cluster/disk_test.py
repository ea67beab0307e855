"""A disk without room, the daemon's or a node's: what can't be kept is refused, nothing accepted is
lost, and all goes on when there is room.
"""

import concurrent.futures
import contextlib
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import time
import unittest

from cluster import Cluster, eventually
from faults import EVERY, SEEDS, FaultCase


class DiskTest(FaultCase):
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

    def test_a_daemon_ends_while_its_disk_is_full(self):
        """Though an agent waits for what can't be recorded."""
        mount = self.small_disk(24)
        cluster = self.start_cluster(agents=1, state_dir=mount / "state").__enter__()
        with self.full(mount):
            cluster.kill("n1")
            eventually(lambda: "journal stands still" in cluster.log(), "nothing is recorded", 30)
            cluster.start("n1")
            time.sleep(2)
            cluster.processes["wattled"].send_signal(signal.SIGTERM)
            cluster.processes["wattled"].wait(timeout=15)
        cluster.start("wattled")
        cluster.wait_for_nodes()

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
