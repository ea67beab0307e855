"""Budgets and caps of energy as a run keeps them: what is saved, what is said, what adds up."""

import re
import unittest

from wattle_runs import RunTest


class EnergyLimitsTest(RunTest):
    def limited(self, output: str, energy: str, steps: int = 40, **sections):
        lines = {
            "train": f"{{steps: {steps}, global_batch: 12, micro_batch: 2}}",
            "checkpoint": "{every: 10, keep: 3}",
            "energy": f"{{meter: model, idle_watts: 10, max_watts: 50, {energy}}}",
        } | sections
        return self.text_config(output, **lines)

    def totals(self, output: str) -> list:
        return [r["run_energy_joules"] for r in self.metrics(output) if "run_energy_joules" in r]

    def used(self, text: str) -> float:
        """Joules that the message at the end of a budget names."""
        return float(re.search(r"energy budget \S+ J: (\S+) J used", text)[1])

    def reported(self, output: str) -> float:
        energy = self.report(output)["energy"]
        return energy["run"]["joules"] + energy["lost_steps_joules"]

    def test_a_spent_budget_ends_with_3_and_a_checkpoint_to_go_on_from(self):
        config = self.limited("run", "budget_joules: 60", steps=4000)
        done = self.train(config, ranks=2, expect=3)
        self.assertIn("a checkpoint is saved", done.stderr)
        self.assertEqual(self.meta("run")["step"], self.train_metrics("run")[-1]["step"])
        self.assertEqual(self.report("run")["training"]["ended"], "budget spent")

    def test_a_budget_that_start_up_spends_claims_no_checkpoint(self):
        done = self.train(self.limited("run", "budget_joules: 0.5"), ranks=2, expect=3)
        self.assertIn("energy budget 0.5 J:", done.stderr)
        self.assertIn("there is no checkpoint", done.stderr)
        self.assertEqual(self.checkpoints("run"), [])

    def test_totals_never_fall_over_attempts(self):
        config = self.limited("run", "budget_joules: 60", steps=4000)
        ends = []
        for _ in range(3):
            done = self.train(config, ranks=2, expect=3)
            ends.append(self.reported("run"))
            self.assertAlmostEqual(self.used(done.stderr), ends[-1], delta=0.01)
        self.assertEqual(ends, sorted(ends))
        self.assertGreater(ends[2], ends[0] + 1)  # starting costs joules each time
        totals = self.totals("run")
        self.assertTrue(all(a <= b + 0.01 for a, b in zip(totals, totals[1:])), totals)


if __name__ == "__main__":
    unittest.main()
