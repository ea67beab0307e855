"""Training jobs over two nodes: mpirun on the first, its daemon on the second started by the agents,
without ssh. The nodes are network namespaces with host names and process numbers of their own,
joined by a veth; a daemon between them relays what their agents say.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import unittest

from agent_runs import LOWEST, Agent, AgentTest, processes_of
from fake_daemon import FakeDaemon

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))

from namespaces import Namespaces, ip


def name_of(pid: int) -> str:
    return pathlib.Path(f"/proc/{pid}/comm").read_text()


def state_of(pid: int) -> str:
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


class TwoNodes(AgentTest):
    """What holds for any two nodes; `network` is where their ranks meet."""

    def launch(self, token: int = 1, watts: float = 30, **run):
        self.daemon.launch(token, self.yaml(**run), nodes=["n1", "n2"], watts=watts,
                           inputs=self.text())

    def check_a_job_of_two_ranks(self):
        self.launch(steps=40, every=20)
        self.daemon.wait_said("run_started", token=1)
        exits = {node: self.daemon.wait_said("run_exited", node, token=1) for node in ("n1", "n2")}
        log = self.daemon.log(1)
        self.assertEqual(exits["n1"].exit_code, 0, log)  # the other node is told that it is over
        self.assertIn("2 ranks", log)
        self.assertIn("step 40/40", log)
        self.assertEqual(exits["n1"].tokens, 40 * 4 * 32)
        self.assertEqual(exits["n2"].tokens, 0)
        # Both have used processor time beyond idling.
        self.assertGreater(exits["n2"].joules, 0)
        self.assertFalse(processes_of(self.folder))

    def check_its_report_names_the_nodes(self):
        """And counts the idle power of both, though they may be one machine."""
        report = json.loads((self.folder / "jobs" / "1" / "out" / "report.json").read_text())
        idle = [device["host"] for device in report["energy"]["devices"]
                if device["device"] == "cpu:idle"]
        self.assertEqual(sorted(idle), ["n1", "n2"])


class OneMachineTest(TwoNodes):
    """Two agents on one machine, as in the demo: no privileges, no namespaces."""

    def nodes(self, **options):
        options = {"mpi_network": "lo", "jobs_dir": self.folder / "jobs",
                   "jobs_dir_is_shared": "true"} | options
        return [self.agent(name, **options) for name in ("n1", "n2")]

    def test_a_job_of_two_ranks(self):
        self.nodes()
        self.check_a_job_of_two_ranks()
        self.check_its_report_names_the_nodes()

    def test_shared_memory_is_each_nodes_own(self):
        """The first ranks of both nodes would give it the same name on one machine."""
        nodes = self.nodes()
        yaml = self.yaml(steps=100000, every=0).replace("global_batch: 4", "global_batch: 8")
        self.daemon.launch(1, yaml, nodes=["n1", "n2"], ranks=2, inputs=self.text())
        self.daemon.wait_measured(1, lambda m: m.units > 5)
        for node in nodes:
            segments = list((node.work / "sessions" / "1").glob("vader_segment*"))
            self.assertEqual(len(segments), 2, f"{node.name}: {segments}")
        for node in nodes:
            self.daemon.send(node.name, kill={"token": 1})
            self.daemon.wait_said("run_exited", node.name, token=1)
            self.assertFalse(list((node.work / "sessions").iterdir()))

    def test_stops_with_a_checkpoint_and_goes_on(self):
        self.nodes()
        self.launch(steps=100000, every=0)
        self.daemon.wait_measured(1, lambda m: m.units > 10)
        for node in ("n1", "n2"):
            self.daemon.send(node, stop={"token": 1, "reason": "Preempted"})
        self.assertEqual(self.daemon.wait_said("run_exited", token=1).exit_code, 75)
        self.daemon.wait_said("run_exited", "n2", token=1)
        self.assertTrue(list((self.folder / "jobs" / "1").glob("out/checkpoints/step-*/meta.json")))

    def test_cut_off_it_is_held_back_and_then_saves(self):
        """On the second node all is stopped at first, whoever lets it go on by mistake."""
        self.daemon.lease_seconds, self.daemon.orphan_grace_seconds = 3, 15
        self.nodes()
        self.launch(steps=10**6, every=0)
        self.daemon.wait_measured(1, lambda m: m.units > 10)
        [rank] = [pid for pid in processes_of(self.folder / "work-n2") if "train" in name_of(pid)]
        self.daemon.stop()
        for _ in range(2):
            self.wait("the rank is held back", lambda: state_of(rank) == "T", 6)
            os.kill(rank, signal.SIGCONT)
        self.wait_gone(self.folder)
        self.assertTrue(list((self.folder / "jobs" / "1").glob("out/checkpoints/step-*/meta.json")))

    def test_both_agents_may_be_killed_while_it_runs(self):
        nodes = self.nodes()
        self.launch(steps=400, every=200)
        self.daemon.wait_measured(1, lambda m: m.units > 10)
        for node in nodes:
            epoch = self.daemon.epoch
            node.kill()
            node.start()
            [held] = self.daemon.wait_registered(node.name, after=epoch).runs
            self.assertEqual(held.token, 1)
        self.assertEqual(self.daemon.wait_said("run_exited", token=1).exit_code, 0,
                         self.daemon.log(1))
        self.daemon.wait_said("run_exited", "n2", token=1)

    def test_it_ends_everywhere_when_agent_and_keeper_of_a_node_are_killed(self):
        for token, which in ((1, 0), (2, 1)):
            nodes = self.nodes() if token == 1 else nodes
            self.daemon.launch(token, self.yaml(steps=10**6, every=0), nodes=["n1", "n2"],
                               inputs=self.text())
            self.daemon.wait_measured(token, lambda m: m.units > 0)
            node, other = nodes[which], nodes[1 - which]
            keeper = node.keeper(token)
            node.kill()
            os.kill(keeper, signal.SIGKILL)
            self.wait_gone(self.folder, 20)
            node.start()
            for each in (node, other):
                self.daemon.wait_said("run_exited", each.name, token=token)

    def test_a_rank_that_is_killed_ends_it_everywhere(self):
        self.nodes()
        self.launch(steps=100000)
        self.daemon.wait_measured(1, lambda m: m.units > 5)
        ranks = subprocess.run(["pgrep", "-f", f"^{os.environ['WATTLE_BIN']}/wattle-train run.yaml"],
                               capture_output=True, text=True).stdout.split()
        mine = [int(p) for p in ranks if int(p) in processes_of(self.folder / "work-n2")]
        self.assertTrue(mine, "no rank on the second node")
        os.kill(mine[0], signal.SIGKILL)
        self.assertNotIn(self.daemon.wait_said("run_exited", token=1).exit_code, (0, 75))
        self.daemon.wait_said("run_exited", "n2", token=1)
        self.assertFalse(processes_of(self.folder))

    def test_the_second_node_holds_its_limit_by_itself(self):
        """The first agent's stream is cut: only the second one hears that the limit is lower."""
        nodes = self.nodes()
        self.launch(steps=1000000, every=0, watts=50)
        self.daemon.wait_measured(1, lambda m: m.units > 5, node="n1")
        self.daemon.wait_measured(1, lambda m: m.watts > 20, node="n2")
        os.kill(nodes[0].process.pid, signal.SIGSTOP)
        try:
            self.daemon.send("n2", set_limit={"token": 1, "devices": [0], "limit_watts": LOWEST,
                                              "sequence": self.daemon.next_sequence()})
            self.daemon.wait_said("acknowledged", "n2", sequence=self.daemon.sequence)
            self.wait_mean_watts("n2", lambda watts: watts < LOWEST * 1.05)
        finally:
            os.kill(nodes[0].process.pid, signal.SIGCONT)

    def test_a_rank_that_a_dead_agent_held_back_goes_on(self):
        first, second = self.nodes()
        self.launch(steps=1000000, every=0, watts=50)
        self.daemon.wait_measured(1, lambda m: m.units > 5, node="n1")
        [rank] = [pid for pid in processes_of(self.folder / "work-n2") if "train" in name_of(pid)]
        os.kill(first.process.pid, signal.SIGSTOP)
        try:
            self.daemon.send("n2", set_limit={"token": 1, "devices": [0], "limit_watts": LOWEST,
                                              "sequence": self.daemon.next_sequence()})
            for _ in range(20):  # it may be let go just before
                self.wait("the rank is held back", lambda: state_of(rank) == "T", 60)
                second.kill()
                if state_of(rank) == "T":
                    break
                second.start()
            self.assertEqual(state_of(rank), "T")
            second.start()
            self.wait("the rank goes on", lambda: state_of(rank) != "T", 30)
        finally:
            os.kill(first.process.pid, signal.SIGCONT)

    def test_a_file_in_the_way_of_the_door_fails_the_run_alone(self):
        first, _ = self.nodes()
        [text] = self.text()
        self.daemon.launch(1, self.yaml(steps=40), nodes=["n1", "n2"],
                           inputs=[text, text | {"path": ".remote-1/x"}])
        exited = self.daemon.wait_said("run_exited", token=1)
        self.assertEqual(exited.exit_code, 127)
        self.assertIn("no way to its other nodes", exited.error)
        self.assertFalse(exited.blameless)
        self.assertIsNone(first.process.poll())

    def test_a_door_that_can_not_be_opened_again_ends_the_run_without_blame(self):
        first, _ = self.nodes()
        self.launch(steps=10**6, every=0)
        self.daemon.wait_measured(1, lambda m: m.units > 0)
        epoch = self.daemon.epoch
        first.kill()
        door = first.folder / "jobs" / "1" / ".remote-1"
        door.unlink()
        door.mkdir()
        first.start()
        self.daemon.wait_registered("n1", after=epoch)
        exited = self.daemon.wait_said("run_exited", token=1)
        self.assertEqual((exited.blameless, exited.node_at_fault), (True, False))
        self.assertIn("no way to its other nodes", exited.error)
        self.daemon.wait_said("run_exited", "n2", token=1)
        self.wait_gone(self.folder)

    def test_a_node_that_does_not_hold_the_run_refuses(self):
        self.nodes()
        self.agent("n3")
        hosts = [{"node": "n1", "ranks": 1}, {"node": "n3", "ranks": 1}]
        self.daemon.send("n1", launch={
            "job": 1, "token": 1, "sequence": self.daemon.next_sequence(), "devices": [0],
            "limit_watts": 30, "ranks": 2, "hosts": hosts, "yaml": self.yaml(),
            "inputs": self.text()})
        self.assertNotEqual(self.daemon.wait_said("run_exited", token=1).exit_code, 0)
        self.assertIn("does not hold run 1", self.daemon.log(1))


class NamespaceTest(TwoNodes):
    """Two nodes that share nothing but a wire and a folder for the jobs."""

    def setUp(self):
        self.spaces = Namespaces(self, "10.97.43")
        super().setUp()
        self.daemon.stop()
        # The daemon lives on a bridge between them, as on a site's network.
        self.daemon = FakeDaemon(address=self.spaces.host)

    def nodes(self):
        nodes = []
        for i, name in enumerate(self.spaces.names, 1):
            # Without TLS only a loopback address may be called: a forwarder inside each namespace.
            forward = subprocess.Popen(
                ["ip", "netns", "exec", name, "/usr/bin/python3",
                 str(pathlib.Path(__file__).with_name("forward.py")), "127.0.0.1:7443",
                 f"{self.spaces.host}:{self.daemon.port}"])
            self.addCleanup(forward.wait)
            self.addCleanup(forward.kill)
            node = Agent(self.folder, f"n{i}", "127.0.0.1:7443",
                         prefix=self.spaces.inside(name),
                         mpi_network="eth0", jobs_dir=self.folder / "jobs",
                         jobs_dir_is_shared="true")
            self.agents.append(node)
            node.start()
            nodes.append(node)
        for i in (1, 2):
            self.daemon.wait_registered(f"n{i}")
        return nodes

    def test_ranks_meet_over_the_wire(self):
        self.nodes()
        self.launch(steps=200, every=0)
        self.daemon.wait_measured(1, lambda m: m.units > 100)
        before = self.spaces.bytes_received(self.spaces.names[0])
        self.daemon.wait_said("run_exited", token=1)
        # Gradients of the 50,000 parameters, at least once a step.
        self.assertGreater(self.spaces.bytes_received(self.spaces.names[0]) - before, 1_000_000)

    def test_a_partition_ends_what_runs_in_time(self):
        self.daemon.lease_seconds, self.daemon.orphan_grace_seconds = 4, 10
        self.nodes()
        self.launch(steps=1000000, every=0)
        self.daemon.wait_measured(1, lambda m: m.units > 5)
        cut = time.monotonic()
        for name in self.spaces.names:
            ip("-n", name, "link", "set", "eth0", "down")
        self.wait_gone(self.folder)
        self.assertLess(time.monotonic() - cut, 4 + 10 + 3)
        epoch = self.daemon.epoch
        for name in self.spaces.names:
            ip("-n", name, "link", "set", "eth0", "up")
        for node in ("n1", "n2"):
            self.daemon.wait_registered(node, after=epoch)
            self.daemon.wait_said("run_exited", node, token=1)


if __name__ == "__main__":
    unittest.main()
