"""What `wattle-train plan` foretells, held against arithmetic and against the run itself."""

import json
import unittest

from wattle_runs import RunTest

PARAMETERS = 256 * 32 + 32 * 32 + 2 * 12704 + 64  # of TINY_GPT
TRAIN = "{steps: 40, global_batch: 12, micro_batch: 2}"


class PlanTest(RunTest):
    def plan(self, config, *arguments: str, overrides=(), expect: int = 0) -> dict:
        done = self.train(config, ranks=0, arguments=["plan", "--json", *arguments],
                          overrides=overrides, expect=expect)
        self.assertEqual(done.stdout.count("\n"), 1, "one object, in one line")
        return json.loads(done.stdout)

    def test_layout_memory_and_traffic(self):
        plan = self.plan(self.text_config(train=TRAIN), "--ranks", "3")
        self.assertEqual((plan["valid"], plan["errors"], plan["warnings"]), (True, [], []))
        self.assertEqual((plan["ranks"], plan["rank_counts"]), (3, [1, 2, 3, 6]))
        self.assertEqual((plan["steps"], plan["micro_batches_per_rank"]), (40, 2))
        self.assertEqual(plan["parameters"], PARAMETERS)
        memory = plan["memory_per_rank_bytes"]
        self.assertEqual([memory[k] for k in ("parameters", "gradients", "optimizer")],
                         [4 * PARAMETERS, 4 * PARAMETERS, 8 * PARAMETERS])
        self.assertEqual(memory["total"],
                         sum(bytes_ for name, bytes_ in memory.items() if name != "total"))
        self.assertEqual([c["bytes"] for c in plan["collectives_per_step"]],
                         [4 * PARAMETERS, 8 * (2 + 1)])
        self.assertEqual(plan["pipeline_bubble"], 0)

    def test_one_rank_exchanges_nothing_and_bf16_keeps_a_rounded_copy(self):
        plan = self.plan(self.text_config(train="{steps: 4, global_batch: 12, precision: bf16}"))
        self.assertEqual(plan["collectives_per_step"], [])
        self.assertEqual(plan["memory_per_rank_bytes"]["parameters"], 6 * PARAMETERS)

    def test_activations_grow_with_the_micro_batch(self):
        config = self.text_config(train=TRAIN)
        small, large = (self.plan(config, overrides=[f"train.micro_batch={n}"])
                        ["memory_per_rank_bytes"]["activations"] for n in (2, 12))
        # The logits and their gradients alone are 2 x 32 x 256 float32 a sample.
        self.assertGreater(small, 2 * 32 * 256 * 4)
        self.assertGreater(large, 4 * small)

    def test_foretells_the_run(self):
        # Other work on the machine may hit either side: the factor is wide. A step that is missing
        # a micro-batch or is counted per token would be beyond it.
        config = self.text_config(
            train="{steps: 40, global_batch: 24, micro_batch: 2}",
            model="model: {family: gpt2, layers: 2, width: 128, heads: 2, vocab: 256, "
                  "positions: 32}")
        predicted = self.plan(config)["predicted"]
        self.train(config, ranks=0)
        report = self.report("run")
        ratio = predicted["step_seconds"] / report["training"]["step_seconds"]
        self.assertTrue(1 / 3 < ratio < 3, ratio)
        joules = predicted["step_joules"] / report["energy"]["per_step_joules"]
        self.assertTrue(1 / 3 < joules < 3, joules)
        self.assertAlmostEqual(predicted["run_joules"], 40 * predicted["step_joules"], 6)
        self.assertEqual(predicted["source"], "estimated:probe")
        self.assertEqual(predicted["power_source"], "estimated:model")

    def test_kind_is_of_what_changes_the_work(self):
        config = self.text_config(train=TRAIN)
        kinds = [self.plan(config, overrides=overrides)["kind"] for overrides in (
            [], ["train.steps=9", "run.seed=3", "optimizer.lr=1e-4", "run.output_dir=elsewhere"],
            ["model.width=64"], ["train.global_batch=24"], ["data.sequence_length=16"])]
        self.assertEqual(kinds[0], kinds[1])
        self.assertEqual(len(set(kinds)), 4)
        self.assertTrue(kinds[0].startswith("gpt2-0.0347M-"), kinds[0])

    def test_plans_the_least_ranks_of_the_job(self):
        config = self.text_config(train=TRAIN, job="{ranks: {min: 2, max: 6}}")
        self.assertEqual(self.plan(config)["ranks"], 2)

    def test_epochs_become_steps(self):
        random = "{kind: random, inputs: 10, samples: 100}"
        config = self.text_config(model="model: {family: mlp, inputs: 10, hidden: [8]}", data=random,
                                  train="{epochs: 3, global_batch: 10}")
        plan = self.plan(config)
        self.assertEqual((plan["steps"], plan["float_run_steps"]), (30, 0))
        config.write_text(config.read_text() + "compression: [{quantize: {target: int8}}]\n"
                                               "float_run: {set: [train.epochs=2]}\n")
        plan = self.plan(config)
        self.assertEqual((plan["steps"], plan["float_run_steps"]), (30, 20))
        self.assertEqual(plan["memory_per_rank_bytes"]["parameters"], 4 * (11 * 8 + 9))

    def test_a_file_that_can_not_run_is_an_answer(self):
        config = self.text_config(train="{steps: 4, global_batch: 12, micro_bach: 2}", models="{}")
        answer = self.plan(config, expect=2)
        self.assertFalse(answer["valid"])
        self.assertEqual(len(answer["errors"]), 2)
        self.assertIn("micro_bach", " ".join(answer["errors"]))

        ranks = self.plan(self.text_config(train=TRAIN), "--ranks", "5", expect=2)
        self.assertFalse(ranks["valid"])
        self.assertIn("5", ranks["errors"][0])

    def test_for_people_it_names_every_figure(self):
        done = self.train(self.text_config(train=TRAIN), ranks=0, arguments=["plan"])
        for figure in ("memory_per_rank_bytes.activations", "predicted.step_joules", "rank_counts"):
            self.assertRegex(done.stdout, rf"(?m)^{figure} +\S")


if __name__ == "__main__":
    unittest.main()
