"""Widths that change while the model trains, as their users run them."""

import json
import unittest

from wattle_runs import RunTest


def adaptive(budget: int = 26000, more: str = "", begin_step: int = 2) -> str:
    return ("[{quantize: {target: 'gguf:q4_0', embeddings: target, effect_samples: 0, "
            f"baseline: none, begin_step: {begin_step}, "
            f"widths: {{formats: ['gguf:q4_0', 'gguf:q8_0'], budget_bytes: {budget}, samples: 12, "
            f"adapt: {{every: 4, margin: 0{more}}}}}}}}}]")


class AdaptTest(RunTest):
    def config(self, output: str, compression: str = adaptive(), steps: int = 40, **sections):
        run = f"{{seed: 7, output_dir: {output}, threads: 1, deterministic: true}}"
        return self.text_config(output, run=run, compression=compression,
                                train=f"{{steps: {steps}, global_batch: 12, micro_batch: 2}}",
                                **({"export": "[{format: gguf}]"} | sections))

    def gguf(self, output: str) -> bytes:
        return (self.folder / output / "export/model.gguf").read_bytes()

    def events(self, output: str) -> list:
        return [r for r in self.metrics(output) if r["phase"] == "compression"]

    def test_changes_are_recorded_and_deployed(self):
        config = self.config("run")
        self.train(config)
        changes = self.report("run")["compression"]["width_changes"]
        self.assertGreater(len(changes), 0)
        events = self.events("run")
        self.assertEqual([e["step"] for e in events], [c["step"] for c in changes])
        for change, event in zip(changes, events, strict=True):
            self.assertEqual((change["step"] - 2) % 4, 0, change)
            self.assertIn(f"{change['name']}: {change['from']} becomes {change['to']}",
                          event["event"])
        ledger = json.loads((self.folder / "run/export/compression_ledger.json").read_text())
        entry = ledger["compression.0.quantize"]
        self.assertEqual(entry["adaptive"]["changes"], changes)
        self.assertNotIn("joules", json.dumps(ledger))
        # What was last for each weight is what is deployed.
        last = {c["name"]: c["to"] for c in changes}
        formats = {w["name"]: w["format"] for w in entry["weights"]}
        for name, to in last.items():
            self.assertEqual(formats[name], to)
        tensors = {t["name"]: t for t in self.report("run")["compression"]["tensors"]}
        self.assertLessEqual(sum(t["bytes_after"] for t in tensors.values()), 26000)
        self.assertEqual({n: t["format"] for n, t in tensors.items()}, formats)
        seen = [r for r in self.metrics("run") if r["phase"] == "evaluate"][-1]["eval_loss"]
        for overrides in ([], ["model.init_from=run/export/model.gguf"]):
            done = self.train(config, 1, overrides, arguments=("eval", "--json"))
            self.assertEqual(json.loads(done.stdout)["loss"], seen)

    def test_what_the_scan_uses_is_the_runs_and_not_the_steps(self):
        """Its joules in a step's seconds would be kilowatts, and a budget would be thought spent."""
        scanning = adaptive(begin_step=5).replace("samples: 12", "samples: 400")
        sections = {"steps": 30, "energy": "{meter: model, idle_watts: 50, max_watts: 51}"}
        self.train(self.config("run", scanning, **sections))
        records = [r for r in self.metrics("run") if r["phase"] == "train"]
        self.assertLess(max(r["power_watts"] for r in records), 60)
        at_scan = [after["run_energy_joules"] - before["run_energy_joules"] - after["energy_joules"]
                   for before, after in zip(records, records[1:])]
        scan = max(at_scan)
        self.assertEqual(at_scan.index(scan), 4, "the fifth step is followed by the scan")
        self.assertGreater(scan, 3 * records[0]["energy_joules"])
        all_joules = records[-1]["run_energy_joules"]
        overrides = ["run.output_dir=again", f"energy.budget_joules={1.5 * all_joules + scan}"]
        self.train(self.config("again", scanning, **sections), overrides=overrides)

    def test_no_number_of_ranks_and_no_kill_changes_a_byte(self):
        self.train(self.config("one"), 1)
        self.assertGreater(len(self.report("one")["compression"]["width_changes"]), 0)
        run = self.start(self.config("killed"), 2)
        self.wait_for_step("killed", 9)
        self.kill_group(run)
        self.train(self.config("killed"), 2)
        state = self.state("one")
        self.assertIn("transform.compression.0.quantize.noise.steps", list(state))
        self.assert_same_bytes(self.state("killed"), state)
        self.assertEqual(self.gguf("killed"), self.gguf("one"))
        self.assertEqual(self.report("killed")["compression"]["width_changes"],
                         self.report("one")["compression"]["width_changes"])

    def test_a_scarce_energy_budget_lowers_widths(self):
        """There is room for 8 bits everywhere, until joules are known to last for a fifth of what is
        still to be done."""
        wide = adaptive(40000, begin_step=40)
        self.train(self.config("free", wide, 140))
        self.assertFalse(any("budget" in e["event"] for e in self.events("free")))
        chosen = [w["format"] for w in self.report("free")["compression"]["widths"] if w["chosen"]]
        self.assertIn("gguf:q8_0", chosen)
        joules = {r["step"]: r["run_energy_joules"] for r in self.train_metrics("free")}
        budget = joules[50] + 0.2 * (joules[140] - joules[50])
        energy = f"{{meter: model, idle_watts: 10, max_watts: 50, budget_joules: {budget}}}"
        self.train(self.config("scarce", wide, 140, energy=energy), expect=3)
        events = [e["event"] for e in self.events("scarce")]
        self.assertRegex(events[0], r"the energy budget tightens: widths may take [1-7]/8 of theirs")
        self.assertTrue(any("gguf:q8_0 becomes gguf:q4_0" in event for event in events), events)

    def test_bad_input_is_refused_before_training(self):
        for more, expected in ((", values: 1", r"adapt\.values"), (", pace: 2", r"adapt\.pace")):
            done = self.train(self.config("bad", adaptive(more=more)), expect=2)
            self.assertRegex(done.stderr, expected)
            self.assertEqual(self.checkpoints("bad"), [])


if __name__ == "__main__":
    unittest.main()
