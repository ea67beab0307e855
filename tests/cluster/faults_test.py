"""Faults at random moments, from seeds: after each of them nothing accepted is lost, nothing ran
twice at once, every job is in the right state, and a job that was started again lost at most its
last checkpoint interval.
"""

import os
import signal
import threading
import time
import unittest

from cluster import GRACE, LEASE, eventually
from faults import ENDLESS, EVERY, PATIENCE, SLOW, STOPPED, FaultCase
from proxy import Proxy


class FaultTest(FaultCase):
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

    def test_daemon_away_for_longer_than_a_run_may_go_on(self):
        """A job that does not save in time is killed by its node, has not failed, and goes on."""
        cluster = self.start_cluster(agents=1)
        trainer = cluster.folder / "trainer.sh"
        stamping = trainer.read_text().rpartition("exec")[0]
        trainer.write_text(stamping + "trap '' USR1\nwhile true; do sleep 0.2; done\n")
        cluster.__enter__()
        job = cluster.submit("ada", self.job_file(cluster, "slow", ENDLESS))[0]
        cluster.wait_for_state(job, "RUNNING")
        cluster.kill("wattled")
        time.sleep(LEASE + GRACE + 2)
        cluster.start("wattled")
        self.wait_for_starts(job, 2)
        self.assertIn("could not be reached", cluster.wattle("eve", "explain", job))
        self.assert_nothing_ran_twice()

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


if __name__ == "__main__":
    unittest.main()
