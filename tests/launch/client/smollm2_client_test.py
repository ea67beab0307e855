"""SmolLM2 as it is fine-tuned, against llama.cpp. ./launch/prepare_data.sh kjv smollm2 and
./launch/clients.sh set up what this needs; the clients' Python runs it.
"""

import json
import pathlib
import re
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from wattle_runs import DATA, ROOT, RunTest  # noqa: E402

CONFIG = ROOT / "configs/train/smollm2_finetune.yaml"
MODEL = "data/SmolLM2-135M-Instruct.Q4_1.gguf"


class SmolLm2ClientTest(RunTest):
    def setUp(self):
        super().setUp()
        (self.folder / "data").symlink_to(DATA)

    def test_perplexity_before_fine_tuning_is_llama_cpps(self):
        """The same file, text, tokens, context and scored half of each window."""
        done = self.train(CONFIG, ranks=0, arguments=("eval", "--json"))
        ours = json.loads(done.stdout)
        said = subprocess.run(
            [ROOT / ".deps/llama.cpp/bin/llama-perplexity", "-m", MODEL, "-f",
             "data/kjv_heldout.txt", "-c", "256", "-t", "2"],
            cwd=self.folder, capture_output=True, text=True, timeout=600)
        self.assertEqual(said.returncode, 0, said.stdout + said.stderr)
        theirs = float(re.search(r"Final estimate: PPL = ([0-9.]+)", said.stdout + said.stderr)[1])
        self.assertLess(abs(ours["perplexity"] / theirs - 1), 0.005,
                        f"{ours['perplexity']} against {theirs}")
        # What makes this so: half of each whole window is scored.
        windows = int(re.search(r"over (\d+) chunks", said.stdout + said.stderr)[1])
        self.assertEqual(ours["tokens"], windows * (256 // 2 - 1))


if __name__ == "__main__":
    unittest.main()
