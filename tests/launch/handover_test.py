"""Entries of `compression` that have the same weights one after the other, steps that are left out,
and training that is kept when what follows it fails."""

import json
import random
import re
import unittest

from wattle_runs import RunTest

EARLY = ("{steps: 20, global_batch: 8, micro_batch: 2, eval_every: 2, "
         "early_stop: {patience: 1, min_improvement: 100}}")  # after 4 steps
MLP = "model: {family: mlp, inputs: 8, hidden: [16, 16], outputs: 1}"


class HandoverTest(RunTest):
    def config(self, output: str, *entries: str, overflow: bool = False, **sections):
        draw = random.Random(3)
        rows = [[f"{draw.gauss(0, 1):.4f}" for _ in range(8)] + [str(draw.randrange(2))]
                for _ in range(96)]
        if overflow:
            rows[5] = ["3e38"] * 8 + ["1"]
        self.write("rows.csv", "".join(",".join(row) + "\n" for row in rows))
        compression = ", ".join(
            f"{{quantize: {{{entry}, energy_seconds: 0, effect_samples: 0}}}}" for entry in entries)
        return self.text_config(
            output, MLP, **({
                "run": f"{{seed: 1, output_dir: {output}, threads: 1, deterministic: true}}",
                "data": "{kind: csv, path: rows.csv, header: false, validation: 32, "
                        f"standardise: {'false' if overflow else 'true'}}}",
                "train": "{steps: 20, global_batch: 8, micro_batch: 2, on_non_finite: skip}",
                "checkpoint": "{every: 0}",
                "compression": f"[{compression}]", "export": "[{format: onnx}]"} | sections))

    def events(self, output: str, entry: int) -> list:
        ledger = json.loads((self.folder / output / "export/compression_ledger.json").read_text())
        return [(event["step"], event["what"])
                for event in ledger[f"compression.{entry}.quantize"]["events"]]

    def loss(self, output: str) -> float:
        return [r for r in self.metrics(output) if r["phase"] == "evaluate"][-1]["eval_loss"]

    def test_what_begins_after_the_last_step_takes_over(self):
        first = "target: int8, end_step: 20"
        then = "target: int4, scales: channel, begin_step: 20, gptq: {samples: 32}"
        for output, entries in (("run", (first, then)), ("swapped", (then, first))):
            config = self.config(output, *entries)
            self.train(config)
            i = entries.index(first)
            self.assertEqual(self.events(output, i), [(0, "begins"), (20, "ends")])
            self.assertEqual(self.events(output, 1 - i), [(20, "begins")])
            done = self.train(config, arguments=("eval", "--json"))
            self.assertEqual(json.loads(done.stdout)["loss"], self.loss(output))
        self.assertEqual(self.loss("run"), self.loss("swapped"))

    def test_the_order_of_the_list_is_no_matter(self):
        first = "target: int4, scales: tensor, end_step: 10"
        then = "target: int8, begin_step: 10, gptq: {samples: 32}"
        for output, entries in (("run", (first, then)), ("swapped", (then, first))):
            self.train(self.config(output, *entries))
        self.assertEqual([r["loss"] for r in self.train_metrics("run")],
                         [r["loss"] for r in self.train_metrics("swapped")])
        self.assertEqual(self.loss("run"), self.loss("swapped"))

    def test_a_handover_is_an_event(self):
        self.train(self.config("run", "target: int8, end_step: 20",
                               "target: int4, scales: channel, begin_step: 20"))
        self.assertEqual([r["event"] for r in self.metrics("run") if "event" in r],
                         ["compression.0.quantize: ends after training, for compression.1.quantize",
                          "compression.1.quantize: begins after training"])

    def test_after_an_early_stop_the_file_holds_what_training_rounded_to_last(self):
        first = "target: int8, end_step: 10"
        self.train(self.config("first", first, train=EARLY))
        these, others = ("these weights", "weights that no later entry has")
        for output, then, in_float in (
                ("middle", "target: int4, scales: channel, begin_step: 10, end_step: 15",
                 [these, these]),
                ("takes", "target: int4, scales: channel, begin_step: 10", []),
                ("part", "target: int8, scales: tensor, begin_step: 10, targets: ['re:.*output.*']",
                 [others]),
                ("last", "target: int4, scales: channel, begin_step: 20, gptq: {samples: 32}", [])):
            with self.subTest(output):
                config = self.config(output, first, then, train=EARLY)
                done = self.train(config)
                self.assertEqual(re.findall(r"the last step, 20: (.*) are in float when they are "
                                            "exported, unless training stops by then", done.stderr),
                                 in_float)
                self.assertEqual(self.events(output, 0), [(0, "begins")])
                stays_out = [] if output == "middle" else [
                    (4, "doesn't begin: compression.0.quantize still rounds")]
                self.assertEqual(self.events(output, 1), stays_out)
                said = r"compression\.0\.quantize still rounds weights of this entry: it doesn't begin"
                self.assertEqual(bool(stays_out), bool(re.search(said, done.stderr)))
                self.assertEqual(self.loss(output), self.loss("first"))
                tensors = self.report(output)["compression"]["tensors"]
                self.assertEqual({tensor["format"] for tensor in tensors}, {"int8:channel"})
                # Nor does anything change when it is run or exported again.
                ledger = self.folder / output / "export/compression_ledger.json"
                before = ledger.read_bytes()
                self.assertNotIn("doesn't begin", self.train(config).stderr)
                self.train(config, arguments=("export",))
                self.assertEqual(ledger.read_bytes(), before)

    def test_an_entry_that_never_begins_leaves_the_report_its_baseline(self):
        self.train(self.config("run", "target: int8, learn: step, targets: ['re:hidden.*']",
                               "target: int8, begin_step: 100, gptq: {samples: 32}, "
                               "targets: ['re:output.*']"))
        [baseline] = self.report("run")["compression"]["baselines"]
        self.assertEqual(baseline["of"], "own weights")

    def test_what_cannot_be_measured_keeps_nothing_else_from_the_report(self):
        entry = ("{quantize: {target: int8, activations: {learn: clipping, targets: ['re:.*relu.*']}, "
                 "energy_seconds: 0, effect_samples: 96, calibration_samples: 2}}")
        for ranks in (1, 2):
            output = f"run{ranks}"
            self.train(self.config(output, overflow=True, compression=f"[{entry}]"), ranks)
            compression = self.report(output)["compression"]
            self.assertRegex(compression["not_measured"], "^[^;]*: a value is not finite[^;]*$")
            self.assertEqual([t["loss_effect"] for t in compression["tensors"]], [None] * 3)
            self.assertNotIn(None, [a["clipped_share"] for a in compression["activations"]])
            self.assertEqual([b["of"] for b in compression["baselines"]], ["own weights"])

    def test_an_early_stop_at_a_handover_is_one(self):
        first = "target: int8, end_step: 4"
        for more, active in (("", "int4:channel"), (", end_step: 8", "int8:channel")):
            output = active[:4]
            then = f"target: int4, scales: channel, begin_step: 4{more}"
            self.train(self.config(output, first, then, train=EARLY))
            tensors = self.report(output)["compression"]["tensors"]
            self.assertEqual({tensor["format"] for tensor in tensors}, {active})
            events = [r["event"] for r in self.metrics(output) if "event" in r]
            self.assertEqual(events, [] if more else [
                "compression.0.quantize: ends after training, for compression.1.quantize",
                "compression.1.quantize: begins after training"])

    def test_an_early_stop_lets_begin_what_nothing_else_rounds(self):
        done = self.train(self.config("run", "target: int8, end_step: 10, targets: ['re:hidden.*']",
                                      "target: int4, scales: channel, begin_step: 10, "
                                      "targets: ['re:output.*']", train=EARLY))
        self.assertRegex(done.stderr, r"compression\.1\.quantize: training has ended before begin_step")
        self.assertEqual((self.events("run", 0), self.events("run", 1)),
                         ([(0, "begins")], [(4, "begins")]))

    def test_learned_ends_leave_steps_out_on_all_ranks(self):
        entry = "target: int8, activations: {begin_step: 2, learn: clipping, targets: ['re:.*relu.*']}"
        for ranks in (1, 2):
            output = f"run{ranks}"
            done = self.train(self.config(output, entry, overflow=True), ranks)
            self.assertTrue([r for r in self.train_metrics(output) if r.get("skipped")])
            # Only one rank has the sample that can't be looked at.
            why = r"activation hidden\.0\.relu: a value is not finite"
            self.assertRegex(done.stderr, "warning: not measured for the report: .*" + why)
            self.assertRegex(self.report(output)["compression"]["not_measured"], why)
        self.assertEqual(self.loss("run1"), self.loss("run2"))

    def test_training_is_kept_when_what_follows_fails(self):
        config = self.config("run", "target: int8, begin_step: 20, activations: {}", overflow=True)
        for _ in range(2):
            failed = self.train(config, expect=1)
            self.assertIn("is inf", failed.stderr)
            self.assertEqual(len(self.train_metrics("run")), 20)
            self.assertEqual(self.last_checkpoint("run").name, "step-20")
        refused = self.train(config, expect=2, arguments=("export",))
        self.assertIn("compression.0.quantize begins after step 20, which the checkpoint is of",
                      refused.stderr)

    def test_a_run_of_epochs_can_be_exported_again(self):
        """Its entry would have begun long after its last step."""
        config = self.config("run", "target: int8, begin_step: 500",
                             train="{epochs: 1, global_batch: 8, micro_batch: 2}")
        self.train(config)
        self.train(config, arguments=("export",))

    def test_joules_a_token_count_the_evaluations_windows(self):
        entry = "{quantize: {target: 'gguf:q4_0', energy_seconds: 1, effect_samples: 0}}"
        model = "model: {family: gpt2, layers: 1, width: 32, heads: 2, vocab: 256, positions: 128}"
        config = self.text_config(
            "run", model, compression=f"[{entry}]", evaluate="{window: 128}",
            data="{kind: text, path: text.txt, tokenizer: bytes, sequence_length: 16, "
                 "validation: 0.25}", energy="{meter: model, idle_watts: 10, max_watts: 50}")
        self.train(config)
        inference = self.report("run")["compression"]["inference"]
        self.assertEqual(inference["energy"]["tokens_a_side"] % 128, 0)


if __name__ == "__main__":
    unittest.main()
