"""Agents that come, come back as somebody else, and are removed: nothing runs twice at once, and the
limits stay below the cap.
"""

import signal
import threading
import time
import unittest
import urllib.request

from cluster import GRACE, LEASE, Cluster, ClusterTest, eventually

ENDLESS = 10**7


class FleetTest(ClusterTest):
    def start_endless(self, cluster: Cluster, name: str = "endless", ranks: int = 1):
        """A job that runs, and the node that it is on."""
        file = cluster.job_file(name, steps=ENDLESS, ranks=ranks, every=ENDLESS)
        job = cluster.submit("ada", file)[0]
        node = cluster.wait_for_state(job, "RUNNING")["nodes"][0]
        eventually(lambda: len(cluster.ranks()) >= ranks, f"job {job} has its processes", 60)
        return job, node

    def move_work_dir(self, cluster: Cluster, node: str, name: str):
        """Writes a file of the agent's with another work_dir, as NAME.yaml."""
        text = (cluster.folder / f"{node}.yaml").read_text()
        before = f"work_dir: {cluster.folder}/{node}\n"
        self.assertIn(before, text)
        cluster.write(f"{name}.yaml", text.replace(before, f"work_dir: {cluster.folder}/{name}-new\n"))

    def watch_one_figure(self, cluster: Cluster, job: int) -> dict:
        """The job's joules by source, once `queue`, `show` and all reports say the same of them."""
        def figures():
            summary = next(j for j in cluster.json("eve", "queue", "--all") if j["job"] == job)
            parts = {p["source"]: p["joules"]
                     for p in cluster.json("eve", "show", job)["energy"]}
            sums = [summary["joules"], sum(parts.values())]
            for key in ("tenant", "job", "day"):
                rows = cluster.json("eve", "report", "--by", key)
                sums.append(sum(p["joules"] for row in rows for p in row["energy"]))
            return parts if max(sums) - min(sums) <= 1e-6 * max(sums) else None
        return eventually(figures, "one figure everywhere", 30)

    def node_state(self, cluster: Cluster, node: str) -> str:
        return next(n["state"] for n in cluster.json("eve", "nodes") if n["name"] == node)

    def watch_ranks(self, cluster: Cluster, seconds: float) -> int:
        """The most processes of trainers that there were at once."""
        most, until = 0, time.monotonic() + seconds
        while time.monotonic() < until:
            most = max(most, len(cluster.ranks()))
            time.sleep(0.1)
        return most

    def test_an_agent_with_another_work_dir_waits_for_the_runs_of_the_one_before(self):
        cluster = self.cluster(agents=2, devices=1)
        job, node = self.start_endless(cluster)
        cluster.kill(node, signal.SIGTERM)
        lost = time.monotonic()
        self.move_work_dir(cluster, node, node)
        cluster.start(node)
        self.assertEqual(self.watch_ranks(cluster, LEASE + GRACE - 2), 1)
        self.assertIn(f"job {job} of the agent before may still run", cluster.log(node))
        eventually(lambda: self.node_state(cluster, node) == "UP", "the agent is taken", 60)
        self.assertGreaterEqual(time.monotonic() - lost, LEASE + GRACE)
        cluster.wait_for_state(job, "RUNNING")
        self.assertLessEqual(self.watch_ranks(cluster, 2), 1)

    def test_an_agent_that_is_started_again_keeps_its_runs(self):
        cluster = self.cluster(agents=1, devices=1)
        job, node = self.start_endless(cluster)
        [rank] = cluster.ranks()
        cluster.kill(node)
        cluster.start(node)
        eventually(lambda: cluster.log(node).count("registered as") == 2, "it is taken", LEASE)
        self.assertEqual(self.watch_ranks(cluster, 2), 1)
        self.assertEqual(cluster.ranks(), [rank])
        self.assertEqual(cluster.show(job)["state"], "RUNNING")

    def test_a_second_agent_of_a_name_is_refused_while_the_first_lives(self):
        cluster = self.cluster(agents=1, devices=1)
        job, node = self.start_endless(cluster)
        self.move_work_dir(cluster, node, "twin")
        cluster.start("twin")
        self.assertEqual(self.watch_ranks(cluster, 5), 1)
        self.assertIn("another agent of this name", cluster.log("twin"))
        self.assertEqual(cluster.log(node).count("registered as"), 1)
        self.assertEqual(cluster.show(job)["state"], "RUNNING")

    def test_a_lost_node_is_removed_when_its_runs_have_surely_ended(self):
        cluster = self.cluster(agents=2, devices=1)
        job, node = self.start_endless(cluster)
        cluster.kill(node)
        eventually(lambda: self.node_state(cluster, node) != "UP", "it is lost", 30)
        refused = cluster.wattle("eve", "remove", node, expect=1)
        self.assertIn("--force", refused)
        self.assertLessEqual(self.watch_ranks(cluster, 3), 1)
        self.assertEqual(cluster.show(job)["nodes"], [node])
        cluster.kill_below(cluster.folder / node)  # now it is off, and the operator knows
        cluster.wattle("eve", "remove", node, "--force")
        eventually(lambda: cluster.show(job)["nodes"] not in ([node], []), "it goes on elsewhere", 30)
        self.assertIn("by force", cluster.log())
        cluster.wattle("ada", "cancel", str(job))
        cluster.wait_for_state(job, "CANCELLED")
        lost = self.watch_one_figure(cluster, job)
        self.assertGreater(lost["estimated:lost-node"], 0)
        cluster.start(node)  # and tells what its run has used
        cluster.wait_for_nodes(2)
        told = self.watch_one_figure(cluster, job)
        self.assertNotIn("estimated:lost-node", told)
        self.assertGreater(told["estimated:model"], 0.9 * lost["estimated:lost-node"])

    def test_a_node_that_joins_waits_until_the_others_have_made_room(self):
        cluster = Cluster(agents=2, devices=2, cap_watts=50,
                          daemon="policy: {name: energy, eta: 0}")  # all that makes progress
        self.addCleanup(cluster.__exit__)
        cluster.start("wattled")
        cluster.start("n1")
        cluster.wait_for_nodes(1)
        for number in range(2):
            self.start_endless(cluster, f"endless{number}")
        watts, is_over = [], threading.Event()
        eventually(lambda: self.limits(cluster) > 45, "the cap is used", 60)

        def sample():
            while not is_over.is_set():
                watts.append(self.limits(cluster))
                time.sleep(0.02)
        sampler = threading.Thread(target=sample)
        sampler.start()
        try:
            cluster.processes["n1"].send_signal(signal.SIGSTOP)
            cluster.start("n2")
            time.sleep(LEASE / 2)
            self.assertEqual(len(cluster.json("eve", "nodes")), 1)
            eventually(lambda: len(cluster.json("eve", "nodes")) == 2, "n2 is taken", 60)
            time.sleep(1)
        finally:
            is_over.set()
            sampler.join()
            cluster.processes["n1"].send_signal(signal.SIGCONT)
        self.assertLessEqual(max(watts), 50 + 1e-6)

    def limits(self, cluster: Cluster) -> float:
        page = urllib.request.urlopen(f"http://{cluster.metrics}/metrics").read().decode()
        return next(float(line.split()[1]) for line in page.splitlines()
                    if line.startswith("wattle_limit_watts"))


if __name__ == "__main__":
    unittest.main()
