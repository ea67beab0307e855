"""Budgets and caps of energy as a run keeps them: what is saved, what is said, what adds up."""

import json
import re
import time
import unittest

from wattle_runs import RunTest, english


class EnergyLimitsTest(RunTest):
    TRACE = "meter: trace, trace_path: trace.csv"

    def limited(self, output: str, limit: str, steps: int = 40,
                meter: str = "meter: model, idle_watts: 10, max_watts: 50", **sections):
        lines = {
            "train": f"{{steps: {steps}, global_batch: 12, micro_batch: 2}}",
            "checkpoint": "{every: 10, keep: 3}",
            "energy": f"{{{meter}, {limit}}}" if limit else f"{{{meter}}}",
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

    def test_an_evaluation_dearer_than_the_budget_is_broken_off(self):
        self.write("text.txt", english(400000))
        config = self.limited("run", "budget_joules: 120", steps=40, train=(
            "{steps: 40, global_batch: 4, micro_batch: 2, eval_every: 2}"), data=(
            "{kind: text, path: text.txt, tokenizer: bytes, sequence_length: 32, validation: 0.9}"))
        done = self.train(config, ranks=2, expect=3)
        self.assertIn("does not fit into the energy budget", done.stderr)
        self.assertEqual([r for r in self.metrics("run") if r["phase"] == "evaluate"], [])
        self.assertLess(self.used(done.stderr), 120 * 1.05)

    def test_a_scan_that_spends_the_budget_is_saved_and_no_step_follows(self):
        self.write("text.txt", english(200000))
        compression = ("[{quantize: {target: 'gguf:q4_0', begin_step: 2, energy_seconds: 0, widths: "
                       "{formats: ['gguf:q4_0', 'gguf:q8_0'], budget_bytes: 36000, samples: 4000}}}]")
        self.train(self.limited("free", "", steps=3, compression=compression))
        start = self.totals("free")[0]
        before, after = (r["run_energy_joules"] for r in self.train_metrics("free")[1:])
        scan = after - before
        self.assertGreater(scan, 2 * start, "a scan that is dearer than start-up")
        config = self.limited("run", f"budget_joules: {start + scan / 2}", steps=9,
                              compression=compression)
        self.assertIn("after step 2 of 9", self.train(config, expect=3).stderr)
        self.assertEqual(len(self.train_metrics("run")), 2)
        self.assertIn("widths are chosen", json.dumps(self.meta("run")))
        # With more joules it goes on from there, and doesn't scan again.
        used = self.totals("run")[-1]
        config = self.limited("run", f"budget_joules: {used + start + scan / 2}", steps=9,
                              compression=compression)
        self.train(config)
        self.assertEqual([r["step"] for r in self.train_metrics("run")], list(range(1, 10)))

    def test_a_meter_that_dies_ends_a_limited_run_after_its_checkpoint(self):
        self.write("trace.csv", "seconds,watts\n0,30\n4,30\n")
        config = self.limited("run", "budget_joules: 4000", steps=100000, meter=self.TRACE)
        done = self.train(config, ranks=2, expect=1)
        self.assertRegex(done.stderr, "trace:0: the trace ended after 4 s")
        self.assertEqual(self.meta("run")["step"], self.train_metrics("run")[-1]["step"])

    def test_a_meter_that_dies_leaves_no_zeros(self):
        self.write("trace.csv", "seconds,watts\n0,30\n1,30\n")
        config = self.limited("run", "", steps=400, meter=self.TRACE)
        done = self.train(config, ranks=2)
        self.assertEqual(done.stderr.count("joules are missing from here on"), 1)
        self.assertNotIn(0.0, [r.get("energy_joules") for r in self.train_metrics("run")])
        self.assertNotIn("energy_joules", self.train_metrics("run")[-1])

    def power(self, output: str, first_step: int = 0) -> float:
        """Average watts after a step, evaluations and checkpoints included."""
        records = [r for r in self.metrics(output) if r["step"] > first_step]
        steps = [r for r in records if r["phase"] != "energy"]
        seconds = sum(r["step_seconds"] for r in steps[1:])
        return (steps[-1]["run_energy_joules"] - steps[0]["run_energy_joules"]) / seconds

    def assert_held(self, watts: float, cap: float):
        """At most 5 % above the cap; below it as far as other load on the machine makes it."""
        self.assertLessEqual(watts, 1.05 * cap)
        self.assertGreaterEqual(watts, 0.75 * cap)

    def test_a_cap_is_held_through_evaluations_and_moved_by_control_json(self):
        self.write("text.txt", english(60000))
        config = self.limited("run", "power_cap_watts: 14", steps=100000, train=(
            "{steps: 100000, global_batch: 8, micro_batch: 2, eval_every: 100}"), data=(
            "{kind: text, path: text.txt, tokenizer: bytes, sequence_length: 32, validation: 0.5}"),
            checkpoint="{every: 100000}")
        process = self.start(config, ranks=2)
        self.wait_for_step("run", 350)
        capped = self.power("run")
        self.assertTrue(any(r["phase"] == "evaluate" for r in self.metrics("run")))
        self.assert_held(capped, 14)
        moved_at = self.train_metrics("run")[-1]["step"]
        self.write("run/control.json", '{"power_cap_watts": 20}')
        self.wait_for_step("run", moved_at + 600)
        self.kill_group(process)
        self.assert_held(self.power("run", moved_at + 50), 20)

    def test_a_cap_that_waits_in_control_json_is_heard_beside_callbacks(self):
        self.write("run/control.json", '{"power_cap_watts": 25}')
        quantize = "{target: 'gguf:q4_0', energy_seconds: 0, effect_samples: 0, baseline: none}"
        config = self.limited("run", "", steps=100000, compression=f"[{{quantize: {quantize}}}]",
                              checkpoint="{every: 100000}")
        process = self.start(config, ranks=2)
        self.wait_for_step("run", 400)
        self.kill_group(process)
        self.assert_held(self.power("run", 20), 25)

    def test_what_a_report_measures_keeps_to_the_cap(self):
        self.write("text.txt", english(200000))
        config = self.limited("run", "power_cap_watts: 14", steps=20, data=(
            "{kind: text, path: text.txt, tokenizer: bytes, sequence_length: 32, validation: 0.5}"),
            compression="[{quantize: {target: 'gguf:q4_0', energy_seconds: 10}}]")
        process = self.start(config)
        self.wait_for_step("run", 20)
        began = time.monotonic()
        process.communicate(timeout=240)
        seconds = time.monotonic() - began
        compression = self.report("run")["compression"]
        self.assertIn("a cap on watts holds this run", compression["not_measured"])
        self.assertNotIn("energy", compression["inference"])
        joules = self.totals("run")[-1] - self.train_metrics("run")[-1]["run_energy_joules"]
        self.assertLessEqual(joules / seconds, 1.1 * 14)


if __name__ == "__main__":
    unittest.main()
