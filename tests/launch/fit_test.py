"""A model and data that do not fit are refused with the key, before training."""

import unittest

from wattle_runs import RunTest


class FitTest(RunTest):
    def refuse(self, expected: str, overrides=(), arguments=(), **sections):
        config = self.text_config(**sections)
        done = self.train(config, 0, overrides=overrides, expect=2, arguments=arguments)
        self.assertRegex(done.stderr, expected)

    def rows(self, lines: str, outputs: int, targets: str) -> dict:
        self.write("table.csv", "a,b,target\n" + lines * 20)
        return dict(model=f"model: {{family: mlp, inputs: 2, hidden: [4], outputs: {outputs}}}",
                    data=f"{{kind: csv, path: table.csv, targets: {targets}}}")

    def test_fewer_outputs_than_classes(self):
        self.refuse(r"model\.outputs: 2, but the data's targets are of 4 classes",
                    **self.rows("1,2,0\n3,4,3\n", 2, "classes"))

    def test_a_label_far_beyond_the_outputs(self):
        self.refuse(r"model\.outputs: 3, but the data's targets are of 90000001 classes",
                    **self.rows("1,2,0\n3,4,90000000\n", 3, "classes"))

    def test_more_outputs_than_a_binary_target_has(self):
        self.refuse(r"model\.outputs: 3, but the data's targets are one number",
                    **self.rows("1,2,0\n3,4,1\n", 3, "binary"))

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


if __name__ == "__main__":
    unittest.main()
