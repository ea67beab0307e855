"""Any number of ranks trains the same model as one."""

import unittest

from wattle_runs import RunTest, english, relative_difference

RANKS = (1, 2, 3, 4)

FAMILIES = {
    "gpt2": "model: {family: gpt2, layers: 2, width: 16, heads: 2, vocab: 256, positions: 16}",
    "llama": "model: {family: llama, layers: 2, width: 16, heads: 4, kv_heads: 2, vocab: 256, "
             "positions: 16}",
    "mlp": "model: {family: mlp, inputs: 10, hidden: [32, 32], outputs: 1}",
    "resnet": "model: {family: resnet, channels: [4, 8], outputs: 10}",
    "vgg": "model: {family: vgg, channels: [4, 8], hidden: [16], outputs: 10}",
}
HAS_BATCH_NORM = ("resnet", "vgg")
HAS_DROPOUT = ("gpt2", "mlp", "vgg")


class EqualityTest(RunTest):
    def config(self, family: str, output: str, train: str, optimizer: str, run: str = "",
               dropout: float = 0):
        """Twenty steps of a small model of the family on data that was made up."""
        model = FAMILIES[family]
        if dropout and family in HAS_DROPOUT:
            model = model.replace("}", f", dropout: {dropout}}}")
        if family in ("gpt2", "llama"):
            self.write("text.txt", english(20000))
            data = "{kind: text, path: text.txt, sequence_length: 16}"
        elif family == "mlp":
            data = "{kind: random, inputs: 10, samples: 240, validation: 24, targets: binary}"
        else:
            self.write("digits.csv", made_up_digits())
            data = "{kind: digits, path: digits.csv}"
        return self.text_config(output, model, run=f"{{seed: 7, output_dir: {output}, threads: 1{run}}}",
                                data=data, train=train, optimizer=optimizer,
                                checkpoint="{every: 0}")

    def parameters(self, output: str) -> dict:
        return {name: tensor for name, tensor in self.state(output).items()
                if name.startswith(("model.", "buffer."))}

    def largest_difference(self, family: str, precision: str) -> float:
        """Over all tensors and rank counts, between a run of one rank and one of several."""
        largest = 0.0
        for ranks in RANKS:
            # Statistics of batch norm are of a micro-batch: there it has to be the same for all.
            # Elsewhere each count of ranks takes another one.
            batch, micro = (24, 2) if family in HAS_BATCH_NORM else (12, {1: 2, 2: 3, 3: 2, 4: 3}[ranks])
            output = f"{family}-{precision}-{ranks}"
            config = self.config(
                family, output, optimizer="{name: sgd, lr: 0.05, momentum: 0.9}",
                train=f"{{steps: 20, global_batch: {batch}, micro_batch: {micro}, precision: {precision}}}")
            self.train(config, ranks)
            if ranks == 1:
                one = self.parameters(output)
                continue
            several = self.parameters(output)
            self.assertEqual(several.keys(), one.keys())
            for name in one:
                largest = max(largest, relative_difference(several[name], one[name]))
        print(f"{family}, {precision}: largest relative difference {largest:.2g}", flush=True)
        return largest

    def check_family(self, family: str):
        self.assertLess(self.largest_difference(family, "fp32"), 1e-5)
        self.assertLess(self.largest_difference(family, "fp64"), 1e-9)

    def test_gpt2_with_sgd_agrees(self):
        self.check_family("gpt2")

    def test_llama_with_sgd_agrees(self):
        self.check_family("llama")

    def test_mlp_with_sgd_agrees(self):
        self.check_family("mlp")

    def test_resnet_with_sgd_agrees(self):
        self.check_family("resnet")

    def test_vgg_with_sgd_agrees(self):
        self.check_family("vgg")

    def check_deterministic(self, family: str):
        for ranks in RANKS:
            config = self.config(
                family, f"{family}-{ranks}", optimizer="{name: adamw, lr: 1.0e-2, weight_decay: 0.1}",
                train="{steps: 10, global_batch: 12, micro_batch: 1, grad_clip: 1.0, eval_every: 5}",
                run=", deterministic: true", dropout=0.2)
            self.train(config, ranks)
        for ranks in RANKS[1:]:
            self.assert_same_bytes(self.state(f"{family}-{ranks}"), self.state(f"{family}-1"))
            self.assertEqual(self.figures(f"{family}-{ranks}"), self.figures(f"{family}-1"))
            self.assertEqual(self.meta(f"{family}-{ranks}")["stream_hash"],
                             self.meta(f"{family}-1")["stream_hash"])

    def figures(self, output: str) -> list:
        return [[record.get(key) for key in ("step", "loss", "grad_norm", "eval_loss", "accuracy")]
                for record in self.metrics(output)]

    def test_gpt2_deterministic_is_the_same_to_the_last_bit(self):
        self.check_deterministic("gpt2")

    def test_llama_deterministic_is_the_same_to_the_last_bit(self):
        self.check_deterministic("llama")

    def test_mlp_deterministic_is_the_same_to_the_last_bit(self):
        self.check_deterministic("mlp")

    def test_resnet_deterministic_is_the_same_to_the_last_bit(self):
        self.check_deterministic("resnet")

    def test_vgg_deterministic_is_the_same_to_the_last_bit(self):
        self.check_deterministic("vgg")

    def test_bf16_stays_near_fp32_on_every_family(self):
        for family in FAMILIES:
            losses = {}
            for precision in ("fp32", "bf16"):
                config = self.config(
                    family, f"{family}-{precision}", optimizer="{name: sgd, lr: 0.05}",
                    train=f"{{steps: 5, global_batch: 12, micro_batch: 3, precision: {precision}}}")
                self.train(config, ranks=0)
                losses[precision] = [r["loss"] for r in self.train_metrics(f"{family}-{precision}")]
            self.assertNotEqual(losses["bf16"], losses["fp32"], family)
            for one, other in zip(losses["bf16"], losses["fp32"]):
                self.assertAlmostEqual(one / other, 1, delta=0.05, msg=family)

    def test_dropout_and_seed_do_change_the_model(self):
        """So that the tests above compare something."""
        states = []
        for output, dropout, seed in (("plain", 0, 7), ("dropped", 0.2, 7), ("seeded", 0, 8)):
            config = self.config("gpt2", output, dropout=dropout, optimizer="{lr: 1.0e-2}",
                                 train="{steps: 3, global_batch: 12, micro_batch: 3}")
            self.train(config, overrides=[f"run.seed={seed}"])
            states.append(self.parameters(output))
        for name in ("model.embed.tokens.weight", "model.blocks.0.attention.qkv.weight"):
            self.assertGreater(relative_difference(states[1][name], states[0][name]), 1e-4)
            self.assertGreater(relative_difference(states[2][name], states[0][name]), 1e-4)


def made_up_digits() -> str:
    """240 images of 8 x 8 in the form of scikit-learn's digits.csv: a bright row or column."""
    rows = []
    for i in range(240):
        label = i % 10
        image = [[(3 * i + 5 * x + 7 * y) % 4 for x in range(8)] for y in range(8)]
        for k in range(8):
            if label < 8:
                image[label][k] = 16
            else:
                image[k][3 * (label - 7)] = 16
        rows.append(",".join(str(v) for row in image for v in row) + f",{label}")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    unittest.main()
