"""Jobs that train a float run first (`float_run:`), from node to node."""

import json
import re
import unittest

from agent_runs import AgentTest

COMPRESSION = ("compression: [{quantize: {target: 'gguf:q4_0', effect_samples: 0, energy_seconds: 0}}, "
               "{distil: {weight: 0.5}}]\n")


class FloatRunTest(AgentTest):
    def test_it_moves_with_its_job_in_either_part(self):
        """Distilled from the float run, whose weights have to come along, on as many steps again."""
        yaml = self.yaml(steps=600, every=50) + COMPRESSION + "float_run: {}\n"
        agents = [self.agent(f"n{i}") for i in (1, 2, 3)]
        checkpoint, done = [], 0
        for token, until in ((1, 60), (2, 660), (3, None)):
            node = f"n{token}"
            self.daemon.launch(token, yaml, nodes=[node], job=1, inputs=self.text(),
                               checkpoint=checkpoint)
            if until:
                self.daemon.wait_measured(token, lambda m: m.units > until, node)
                self.daemon.send(node, stop={"token": token, "reason": "Preempted"})
            exited = self.daemon.wait_said("run_exited", node, token=token)
            self.assertEqual(exited.exit_code, 75 if until else 0, self.daemon.log(token))
            measured = [m for m in self.daemon.all_said("measured", node) if m.units]
            self.assertGreater(min(m.units for m in measured), done)
            done = max(m.units for m in measured)
            checkpoint = [{"path": f.path, "sha256": f.sha256, "size_bytes": f.size_bytes}
                          for f in exited.checkpoint]
        self.assertEqual(done, 1200)
        float_steps = [json.loads(line) for line in
                       (agents[2].job(1) / "out/float/metrics.jsonl").read_text().splitlines()]
        trained = [r["step"] for r in float_steps if r["phase"] == "train"]
        self.assertEqual(trained, list(range(1, 601)), "each step of the float run once")

    def test_checkpoints_after_another_float_run_are_set_aside(self):
        """A node was lost that had gone further than anybody knew; the job has another float run."""
        def yaml(lr: str, steps: int) -> str:
            return self.yaml(steps=steps, every=20).replace("lr: 1.0e-2", f"lr: {lr}") + (
                COMPRESSION + "float_run: {set: [train.steps=40]}\n")
        agent = self.agent("n1")
        self.agent("n2")
        self.daemon.launch(1, yaml("1.0e-2", 1500), job=1, inputs=self.text())
        self.assertEqual(self.daemon.wait_said("run_exited", token=1).exit_code, 0)
        self.daemon.launch(2, yaml("2.0e-2", 100000), nodes=["n2"], job=1, inputs=self.text())
        self.daemon.wait_measured(2, lambda m: m.units > 50, "n2")
        self.daemon.send("n2", stop={"token": 2, "reason": "Preempted"})
        stored = self.daemon.wait_said("run_exited", "n2", token=2).checkpoint
        self.daemon.launch(3, yaml("2.0e-2", 10000), job=1, inputs=self.text(), checkpoint=[
            {"path": f.path, "sha256": f.sha256, "size_bytes": f.size_bytes} for f in stored])
        self.daemon.wait_measured(3, lambda m: m.units > 60)
        step = max(int(re.search(r"out/checkpoints/step-(\d+)/", f.path)[1]) for f in stored
                   if f.path.startswith("out/checkpoints/"))
        self.assertLess(step, 1500)
        self.assertIn(f"going on after step {step}\n", self.daemon.log(3))
        self.assertTrue((agent.job(1) / "out/checkpoints.other-1/step-1500").is_dir())


if __name__ == "__main__":
    unittest.main()
