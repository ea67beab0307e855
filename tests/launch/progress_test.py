"""What a run shows while it trains: a bar on a terminal, under mpirun too; plain lines elsewhere."""

import os
import pty
import subprocess
import unittest

from wattle_runs import RunTest

REDRAWN = "\r\x1b[K"


class ProgressTest(RunTest):
    def seen_on_a_terminal(self, config, ranks: int) -> str:
        terminal, end = pty.openpty()
        with subprocess.Popen(self.command(config, ranks), cwd=self.folder, stdin=end, stdout=end,
                              stderr=end):
            os.close(end)
            seen = b""
            try:
                while read := os.read(terminal, 1 << 16):
                    seen += read
            except OSError:  # every end is closed
                pass
        os.close(terminal)
        return seen.decode()

    def test_a_terminal_shows_a_bar_whatever_the_ranks(self):
        config = self.text_config(checkpoint="{every: 0}")
        for ranks in (0, 1, 2):
            with self.subTest(ranks=ranks):
                seen = self.seen_on_a_terminal(config, ranks)
                self.assertIn(REDRAWN, seen)
                self.assertIn("step 6/6", seen)
                (self.folder / "run/report.json").unlink()
                for checkpoint in self.checkpoints("run"):
                    (checkpoint / "meta.json").unlink()

    def test_elsewhere_lines_are_plain(self):
        self.assertNotIn("\x1b", self.train(self.text_config(), ranks=2).stderr)


if __name__ == "__main__":
    unittest.main()
