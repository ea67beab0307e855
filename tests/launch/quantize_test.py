"""Quantisation-aware training as its users run it: schedule, checkpoints, evaluation, GGUF files."""

import json
import shutil
import unittest

from wattle_runs import RunTest

Q4 = "[{quantize: {target: 'gguf:q4_0', begin_step: 2}}]"
GGUF = "[{format: gguf}]"


class QuantizeTest(RunTest):
    def config(self, output: str = "run", compression: str = Q4, **sections):
        run = f"{{seed: 7, output_dir: {output}, threads: 1, deterministic: true}}"
        return self.text_config(output, run=run, compression=compression,
                                **({"export": GGUF} | sections))

    def gguf(self, output: str) -> bytes:
        return (self.folder / output / "export/model.gguf").read_bytes()

    def evaluation(self, config, ranks: int = 1, overrides=()):
        done = self.train(config, ranks, overrides, arguments=("eval", "--json"))
        return json.loads(done.stdout)["loss"]

    def last_eval_loss(self, output: str = "run") -> float:
        return [r for r in self.metrics(output) if r["phase"] == "evaluate"][-1]["eval_loss"]

    def test_the_file_computes_what_training_saw_last(self):
        config = self.config()
        self.train(config)
        seen = self.last_eval_loss()
        self.assertEqual(self.evaluation(config), seen)
        from_file = self.evaluation(config, overrides=["model.init_from=run/export/model.gguf"])
        self.assertEqual(from_file, seen)
        float_run = self.config("float", "[]")
        self.train(float_run, overrides=["train.steps=2"])
        later = ["train.steps=2", "compression.0.quantize.begin_step=3"]
        self.train(self.config("two"), overrides=later)
        self.assertEqual(self.last_eval_loss("two"), self.last_eval_loss("float"),
                         "before begin_step nothing is rounded")
        self.train(self.config("after"), overrides=["train.steps=2"])
        self.assertNotEqual(self.last_eval_loss("after"), self.last_eval_loss("float"),
                            "what begins at the end is rounding after training")
        self.assertNotEqual(seen, self.last_eval_loss("float"))

    def test_a_run_in_two_parts_is_the_run_in_one(self):
        self.train(self.config("whole"))
        self.train(self.config("parts"), overrides=["train.steps=3"])
        self.train(self.config("parts"))
        self.assert_same_bytes(self.state("parts"), self.state("whole"))
        self.assertEqual(self.gguf("parts"), self.gguf("whole"))

    def test_learned_scales_survive_a_kill(self):
        learned = "[{quantize: {target: int8, learn: step, begin_step: 1, freeze_observers_step: 40}}]"
        sections = {"train": "{steps: 60, global_batch: 12, micro_batch: 2}", "export": "[]"}
        self.train(self.config("whole", learned, **sections), 2)
        run = self.start(self.config("killed", learned, **sections), 2)
        self.wait_for_step("killed", 5)
        self.kill_group(run)
        self.assertLess(self.train_metrics("killed")[-1]["step"], 60)
        self.train(self.config("killed", learned, **sections), 2)
        state = self.state("whole")
        self.assertIn("transform.compression.0.quantize.scale.blocks.0.attention.qkv.weight", state)
        self.assert_same_bytes(self.state("killed"), state)

    def test_observed_ranges_are_the_same_in_parts_and_on_two_ranks(self):
        for observer in ("ema", "mse"):
            observed = ("[{quantize: {target: int8, begin_step: 1, "
                        f"weight_ranges: {{observer: {observer}, every: 2, momentum: 0.5}}}}}}]")
            self.train(self.config("whole", observed, export="[]"))
            self.train(self.config("parts", observed, export="[]"), 2, ["train.steps=3"])
            self.train(self.config("parts", observed, export="[]"), 2)
            state = self.state("whole")
            self.assertIn("transform.compression.0.quantize.scale.blocks.0.attention.qkv.weight",
                          list(state))
            self.assert_same_bytes(self.state("parts"), state)
            self.assertEqual(self.evaluation(self.config("whole", observed, export="[]")),
                             self.last_eval_loss("whole"))
            for output in ("whole", "parts"):
                shutil.rmtree(self.folder / output)

    def test_ranks_change_no_byte_of_the_file(self):
        self.train(self.config("one"), 1)
        self.train(self.config("two"), 2)
        one = self.gguf("one")
        self.assertEqual(one, self.gguf("two"))
        for ranks in (1, 2):
            self.train(self.config("one"), ranks, arguments=("export",))
            self.assertEqual(self.gguf("one"), one)

    def test_the_ledger_says_what_was_done(self):
        self.train(self.config())
        ledger = json.loads((self.folder / "run/export/compression_ledger.json").read_text())
        entry = ledger["compression.0.quantize"]
        self.assertEqual(entry["events"], [{"step": 2, "what": "begins"}])
        self.assertIn({"fixed_scales": False, "folded": False, "format": "gguf:q8_0", "learn": 0,
                       "name": "embed.tokens.weight"},
                      entry["weights"])
        self.assertIn(b"wattle.compression_ledger.xxh3_128", self.gguf("run"))

    def test_rounding_after_training_is_an_export_of_its_own(self):
        export = "[{format: gguf}, {format: gguf, type: q4_0, path: ptq.gguf}]"
        self.train(self.config("trained", Q4.replace(", begin_step: 2", ""), export=export))
        # Rounding what was rounded changes nothing.
        self.assertEqual((self.folder / "trained/export/ptq.gguf").read_bytes(),
                         self.gguf("trained"))

    def refused(self, compression: str, expected: str, overrides=()):
        config = self.config("bad", compression, export="[]")
        done = self.train(config, expect=2, overrides=overrides)
        self.assertRegex(done.stderr, expected)
        self.assertEqual(self.checkpoints("bad"), [])

    def test_bad_input_is_refused_before_training(self):
        self.refused("[{quantize: {target: 'gguf:q4_0', targets: ['blocks.0.atention']}}]",
                     r"compression\.0\.quantize\.targets: 'blocks\.0\.atention' matches no weight "
                     r"\(did you mean 'blocks\.0\.attention'\?\)")
        self.refused(Q4, r"needs train\.precision: fp32", ["train.precision=bf16"])
        self.refused("[{prune: {final_sparsity: 0.5}}]", r"compression\.0\.prune: pruning is not")
        self.refused("[{quantize: {target: 'gguf:q4'}}]", r"did you mean 'gguf:q4_0'")
        self.refused("[{quantize: {target: int4, group_size: 24}}]", r"groups of 24")
        self.refused("[{quantize: {target: fp8, learn: step}}]", r"learn: needs a symmetric integer")
        self.refused("[{quantize: {target: 'gguf:q8_0', scales: tensor}}]", r"follow from each block")
        self.refused("[{quantize: {target: 'gguf:tq2_0'}}]",
                     r"embeddings: mixed would give \S+ the type Q4_K", ["model.tied_embeddings=false"])
        ranges = "weight_ranges: {observer: mse}"
        self.refused(f"[{{quantize: {{target: 'gguf:q4_0', {ranges}}}}}]",
                     r"weight_ranges: gguf:q4_0: the scales of each block follow from the format's own")
        self.refused(f"[{{quantize: {{target: fp8, {ranges}}}}}]", r"weight_ranges: fp8: .*only int2")
        self.refused(f"[{{quantize: {{target: int8, learn: step, {ranges}}}}}]", r"not both")
        for other in ("'int4:group32:asymmetric'", "'fp8:channel'", "'ternary:group32'"):
            self.refused("[{quantize: {target: int4, learn: step, widths: {formats: ['int4:group32', "
                         f"{other}], budget_bytes: 30000}}}}}}]",
                         r"widths\.formats: .* has no scales that can be learned")
        self.refused("[{quantize: {target: int4, targets: ['embed', 'blocks']}}]",
                     r"targets: 'embed' chooses embed\.tokens\.weight, which embeddings leaves in float")
        self.refused("[{}]", r"compression\.0: is empty")
        self.refused("[{quantize: {target: 'gguf:q4_0', begin_step: 4, end_step: 4}}]",
                     r"4 is not after begin_step 4")

    def test_a_run_does_not_go_on_with_another_target(self):
        self.train(self.config(), overrides=["train.steps=3"])
        done = self.train(self.config(), expect=2,
                          overrides=["compression.0.quantize.target=gguf:q8_0"])
        self.assertRegex(done.stderr, r"compression\.0: .*q8_0.* was trained with .*q4_0")


if __name__ == "__main__":
    unittest.main()
