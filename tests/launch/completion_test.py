"""`wattle completion` in real shells, typed into a terminal."""

import os
import pathlib
import pty
import re
import select
import subprocess
import sys
import tempfile
import time
import unittest


class Shell:
    """A shell on a pseudo-terminal. The prompt is '$> '."""

    def __init__(self, command: list, setup: str, folder: str):
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            path = f"{pathlib.Path(WATTLE).parent}:{os.environ['PATH']}"
            os.execvpe(command[0], command, {"PATH": path, "TERM": "dumb", "HOME": folder,
                                             "PS1": "$> ", "INPUTRC": "/dev/null"})
        self.type(setup + "; echo re''ady\n")
        self.wait_for("ready\r?\n")

    def type(self, text: str):
        os.write(self.terminal, text.encode())

    def wait_for(self, pattern: str, timeout: float = 30) -> str:
        seen, deadline = "", time.monotonic() + timeout
        while not re.search(pattern, seen):
            if time.monotonic() > deadline:
                raise AssertionError(f"{pattern!r} did not come, but {seen!r}")
            if select.select([self.terminal], [], [], 0.1)[0]:
                seen += os.read(self.terminal, 65536).decode(errors="replace").replace("\a", "")
        return seen

    def complete(self, typed: str, expected: str) -> str:
        """Types, presses tab twice (the second lists what is possible) and leaves the line."""
        self.type(typed + "\t\t")
        seen = self.wait_for(expected)
        self.type("\x15echo re''ady\n")
        self.wait_for("ready\r?\n")
        return seen

    def close(self):
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)
        os.close(self.terminal)


class CompletionTest(unittest.TestCase):
    def shell(self, command: list, setup: str) -> Shell:
        folder = tempfile.TemporaryDirectory(prefix="wattle-test-")
        self.addCleanup(folder.cleanup)
        (pathlib.Path(folder.name) / "my run.yaml").touch()
        shell = Shell(command, setup, folder.name)
        self.addCleanup(shell.close)
        return shell

    def check(self, shell: Shell):
        shell.complete("wattle que", "wattle queue ")
        shell.complete("wattle dr", "wattle drain ")
        shell.complete("wattle cap s", "set[^\n]+show|show[^\n]+set|set\r?\n")
        shell.complete("wattle queue --ten", "wattle queue --tenant ")
        shell.complete("wattle report --by te", "wattle report --by tenant ")
        shell.complete("wattle certs issue user ada --role ten", "--role tenant-admin ")
        shell.complete("wattle submit my", r"wattle submit my\\ run.yaml")

    def test_bash(self):
        self.check(self.shell(["bash", "--norc", "--noprofile", "-i"],
                              "PS1='$> '; source <(wattle completion bash)"))

    def test_zsh(self):
        self.check(self.shell(["zsh", "-f", "-i"], "PS1='$> '; autoload -U compinit; "
                              "compinit -u -D; source <(wattle completion zsh)"))

    def words(self, *line: str) -> list:
        done = subprocess.run([WATTLE, "completion", "words", "--", "wattle", *line],
                              capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.split()

    def test_every_command_that_help_names_is_offered(self):
        shown = subprocess.run([WATTLE, "--help"], capture_output=True, text=True).stdout
        commands = re.findall(r"^  ([a-z]+) ", shown.split("Subcommands:")[1], re.MULTILINE)
        self.assertGreater(len(commands), 14)
        self.assertEqual(self.words(""), sorted(commands))

    def test_words_fit_their_place(self):
        self.assertEqual(self.words("cap", ""), ["set", "show"])
        self.assertEqual(self.words("report", "--by", ""), ["day", "job", "tenant"])
        self.assertEqual(self.words("report", "--by", "=", "d"), ["day"])
        self.assertEqual(self.words("submit", "--json", ""), ["<file>"])
        self.assertEqual(self.words("submit", "run.yaml", ""), [])
        self.assertEqual(self.words("energy", "--", "ls", ""), ["<file>"])
        self.assertEqual(self.words("queue", "--tenant", ""), [])
        self.assertIn("--dir", self.words("certs", "issue", "node", "--"))
        self.assertNotIn("--guard", self.words("energy", "--"))
        self.assertEqual(self.words("nonsense", "--nonsense", "--wh"), [])


if __name__ == "__main__":
    WATTLE = str(pathlib.Path(sys.argv.pop(1)).resolve())
    unittest.main()
