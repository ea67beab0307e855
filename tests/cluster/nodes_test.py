"""A training job over two nodes, from `wattle submit` to its end: a wattled and two agents over
mutual TLS, in network namespaces that share a wire and a folder for the jobs. No ssh.
"""

import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

from cluster import ClusterTest
from namespaces import Namespaces


class TwoNodesTest(ClusterTest):
    def test_a_job_of_two_ranks_runs_on_both(self):
        spaces = Namespaces(self, "10.97.44")
        cluster = self.cluster(
            agents=2, devices=1, host=spaces.host,
            prefixes={f"n{i}": spaces.inside(name) for i, name in enumerate(spaces.names, 1)},
            agent="mpi_network: eth0\njobs_dir: {folder}/jobs\njobs_dir_is_shared: true\n")
        before = [spaces.bytes_received(name) for name in spaces.names]
        file = cluster.job_file("gang", steps=60, ranks=2, every=20, width=64)
        job = int(cluster.wattle("ada", "submit", file, "--parsable"))
        done = cluster.wait_for_state(job, "COMPLETED")
        self.assertEqual(sorted(done["nodes"]), ["n1", "n2"])
        self.assertEqual(done["units_done"], 60)
        log = cluster.wattle("ada", "logs", job)
        self.assertIn("2 ranks", log)
        self.assertIn("step 60/60", log)
        # Gradients of some 8,000 parameters in each step, both ways.
        for name, received in zip(spaces.names, before):
            self.assertGreater(spaces.bytes_received(name) - received, 500_000)
        [row] = [r for r in cluster.json("eve", "report", "--by", "job") if r["key"] == str(job)]
        self.assertGreater(row["estimated_joules"], 0)


if __name__ == "__main__":
    unittest.main()
