"""A model and data that do not fit are refused with the key, before training."""

import json
import struct
import unittest

from wattle_runs import RunTest


class FitTest(RunTest):
    def refuse(self, expected: str, overrides=(), arguments=(), **sections):
        config = self.text_config(**sections)
        done = self.train(config, 0, overrides=overrides, expect=2, arguments=arguments)
        self.assertRegex(done.stderr, expected)

    def evaluation(self, output: str) -> dict:
        """The record of the last one."""
        return [r for r in self.metrics(output) if r["phase"] == "evaluate"][-1]

    def rows(self, lines: str, outputs: int, targets: str) -> dict:
        self.write("table.csv", "a,b,target\n" + lines * 20)
        return dict(model=f"model: {{family: mlp, inputs: 2, hidden: [4], outputs: {outputs}}}",
                    data=f"{{kind: csv, path: table.csv, targets: {targets}}}")

    def test_fewer_outputs_than_classes(self):
        self.refuse(r"model\.outputs: 2, but the data's targets are of 4 classes",
                    **self.rows("1,2,0\n3,4,3\n", 2, "classes"))

    def test_a_label_far_beyond_the_outputs(self):
        self.refuse(r"model\.outputs: 3, but the data's targets are of 9000001 classes",
                    **self.rows("1,2,0\n3,4,9000000\n", 3, "classes"))

    def test_more_outputs_than_a_binary_target_has(self):
        self.refuse(r"model\.outputs: 3, but the data's targets are one number",
                    **self.rows("1,2,0\n3,4,1\n", 3, "binary"))

    def test_a_loss_without_a_least_value(self):
        self.refuse(r"run\.yaml:1:\d+: model\.loss: bce, but the data's targets are any numbers "
                    r"\(data\.targets\); expected mse",
                    **self.rows("1,2,-500\n3,4,500\n", 1, "numbers") | dict(
                        model="model: {family: mlp, inputs: 2, hidden: [4], loss: bce}"))

    def test_a_checkpoint_whose_loss_has_no_least_value(self):
        self.train(self.text_config("first", **self.rows("1,2,0\n3,4,1\n", 1, "binary")))
        self.refuse(r"model\.loss: bce, but the data's targets are any numbers",
                    **self.rows("1,2,-500\n3,4,500\n", 1, "numbers") | dict(
                        model="model: {init_from: first}"))

    def test_numbers_are_learned_by_squares(self):
        done = self.train(self.text_config(**self.rows("1,2,-500\n3,4,500\n", 1, "numbers")), 0)
        self.assertNotIn("accuracy", done.stderr)
        self.assertGreater(self.evaluation("run")["eval_loss"], 100000)
        self.assertIn("loss: mse", (self.folder / "run/resolved.yaml").read_text())

    def test_shares_are_not_classified(self):
        model = "model: {family: mlp, inputs: 4, hidden: [4]}"
        for targets, expected in (("uniform", False), ("binary", True)):
            config = self.text_config(targets, model=model,
                                      data=f"{{kind: random, inputs: 4, targets: {targets}}}")
            self.assertEqual("accuracy" in self.train(config, 0).stderr, expected)
            self.assertEqual("accuracy" in self.evaluation(targets), expected)

    def images(self, model: str) -> dict:
        self.write("digits.csv", "".join(f"{label}," * 64 + f"{label}\n" for label in range(10)) * 4)
        return dict(model=f"model: {{{model}}}",
                    data="{kind: digits, path: digits.csv, validation: 4}")

    def test_images_for_a_model_of_rows(self):
        self.train(self.text_config(**self.images("family: mlp, inputs: 64, hidden: [8], outputs: 10")), 0)
        self.assertIn("accuracy", self.evaluation("run"))

    def test_more_stages_than_an_image_has_halves(self):
        refused = self.images("family: vgg, channels: [4, 4, 4, 4]")
        self.refuse(r"model\.channels: 4 stages, but an image of 8 x 8 can be halved only 3 times",
                    **refused)
        for family, stages in (("vgg", 3), ("resnet", 6)):
            config = self.text_config(family, **self.images(
                f"family: {family}, channels: {[2] * stages}"))
            self.train(config, 0, overrides=["train.steps=1"])

    def test_an_early_stop_without_validation(self):
        self.refuse(r"train\.early_stop: needs validation samples, but data\.validation holds none out",
                    **self.rows("1,2,0\n3,4,1\n", 1, "binary"),
                    train="{steps: 6, global_batch: 12, eval_every: 2, early_stop: {patience: 1}}",
                    overrides=["data.validation=0.001"])

    def test_sizes_beyond_all_memory(self):
        self.refuse(r"run\.yaml:1:\d+: model\.hidden: every layer needs 1 to 2147483648 neurons",
                    model="model: {family: mlp, inputs: 100, hidden: [9000000000000]}",
                    data="{kind: random}", arguments=["plan"])
        config = self.text_config(data="{kind: random, inputs: 2147483648}",
                                  model="model: {family: mlp, inputs: 2147483648, hidden: [2147483648]}")
        done = self.train(config, 0, expect=1, arguments=["plan"])
        self.assertRegex(done.stderr, r"^wattle-train: Storage size calculation overflowed.*\n$")

    def test_more_steps_than_can_be_counted(self):
        self.refuse(r"train\.steps: expected at most 4294967296",
                    train="{steps: 9000000000000000000}")
        self.refuse(r"train\.epochs: 9000000000000000000 epochs of \d+ samples are more than",
                    train="{epochs: 9000000000000000000, global_batch: 12}")

    def test_a_table_for_a_model_of_images(self):
        self.refuse(r"data\.kind: a model of family resnet learns from images",
                    **self.rows("1,2,0\n3,4,1\n", 2, "binary") | dict(
                        model="model: {family: resnet}"))

    def test_deterministic_without_a_micro_batch(self):
        self.refuse(r"run\.yaml:\d+:\d+: run\.deterministic: needs train\.micro_batch",
                    run="{output_dir: run, deterministic: true}",
                    train="{steps: 2, global_batch: 12}")

    def test_a_batch_beyond_all_memory(self):
        self.refuse(r"train\.global_batch: expected at most 1073741824",
                    train="{steps: 2, global_batch: 9223372036854775807}")

    def test_a_first_token_beyond_the_vocabulary(self):
        self.refuse(r"evaluate\.bos_token: 256 is beyond", evaluate="{bos_token: 256}")

    def test_a_sequence_beyond_the_positions_of_a_checkpoint(self):
        self.train(self.text_config("first"))
        longer = "{kind: text, path: text.txt, sequence_length: 64, validation: 0.1}"
        self.refuse(r"data\.sequence_length: 64 tokens are more than the model's 32 positions",
                    model="model: {init_from: first}", data=longer)


class FirstWeightsTest(RunTest):
    """Weights of a file with which training can't begin."""

    def setUp(self):
        super().setUp()
        self.train(self.text_config("first", "model: {family: llama, layers: 2, width: 32, heads: 2, "
                                    "ffn_width: 128, vocab: 256, positions: 32}",
                                    export="[{format: safetensors}]"))
        self.file = self.folder / "first/export/safetensors/model.safetensors"
        self.whole = self.file.read_bytes()

    def put(self, tensor: str, index: int, value: float):
        """Writes one value into the file that was exported."""
        begin = 8 + int.from_bytes(self.whole[:8], "little")
        at = json.loads(self.whole[8:begin])[tensor]["data_offsets"][0] + begin + 4 * index
        self.file.write_bytes(self.whole[:at] + struct.pack("<f", value) + self.whole[at + 4:])

    def start_from_it(self, quantize: str) -> str:
        entries = f"[{{quantize: {{energy_seconds: 0, {quantize}}}}}]" if quantize else "[]"
        done = self.train(self.text_config("second", "model: {init_from: first/export/safetensors}",
                                           compression=entries), 2, expect=2)
        self.assertEqual(self.metrics("second"), [])
        return done.stderr

    def test_values_that_are_not_finite(self):
        weight = "blocks.0.feed_forward.down.weight"
        self.put("model.layers.0.mlp.down_proj.weight", 3 * 128 + 5, float("nan"))
        for quantize in ("target: int8", "target: 'gguf:q4_0', begin_step: 4"):
            self.assertRegex(self.start_from_it(quantize),
                             r"compression\.0\.quantize: the first values of " + weight + " can't be "
                             r"rounded to (int8:channel|gguf:q4_0): row 3, element 5 is nan, expected a "
                             "finite weight")
        self.assertRegex(self.start_from_it(""), r"model\.init_from: first/export/safetensors: " +
                         weight + ": row 3, element 5 is nan")
        self.put("model.layers.1.input_layernorm.weight", 7, float("-inf"))
        self.assertRegex(self.start_from_it("target: int8"),
                         r"model\.init_from: .*: blocks\.1\..*: row 0, element 7 is -inf")

    def test_a_scale_that_its_type_cannot_hold(self):
        self.put("model.layers.0.mlp.down_proj.weight", 3 * 128 + 69, -6e5)
        self.assertRegex(self.start_from_it("target: 'gguf:q4_0'"),
                         r"compression\.0\.quantize: the first values of blocks\.0\.feed_forward\.down"
                         r"\.weight can't be rounded to gguf:q4_0: row 3, elements 64 to 95: the largest "
                         r"magnitude is 600000, of element 69, .*65504, the largest of f16")


if __name__ == "__main__":
    unittest.main()
