"""Runs `wattle energy` as a user would: python3 energy_command_test.py PATH_OF_WATTLE."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import unittest

WATTLE = ""
MODEL = ["--meter", "model", "--idle-watts", "10", "--max-watts", "30"]
BUSY = "import time\nwhile time.process_time() < 0.5: pass"


def measure(arguments, command, **kwargs):
    done = subprocess.run([WATTLE, "energy", *arguments, "--json", "--", *command],
                          capture_output=True, text=True, timeout=60, **kwargs)
    return done, json.loads(done.stdout.splitlines()[-1])


class EnergyCommandTest(unittest.TestCase):
    def test_charges_idle_power_by_the_second(self):
        done, measured = measure(MODEL, ["sleep", "1"])
        self.assertEqual(done.returncode, 0)
        self.assertEqual(measured["energy_source"], "estimated:model")
        self.assertAlmostEqual(measured["energy_joules"], 10 * measured["seconds"], delta=0.5)
        self.assertGreaterEqual(measured["seconds"], 1)

    def test_charges_the_processor_time_of_the_command_and_what_it_starts(self):
        per_second = (30 - 10) / os.cpu_count()
        for command in ([sys.executable, "-c", BUSY], ["sh", "-c", f"{sys.executable} -c '{BUSY}'; true"]):
            _, measured = measure(MODEL, command)
            work = measured["energy_joules"] - 10 * measured["seconds"]
            self.assertGreater(work, 0.5 * per_second)
            self.assertLess(work, 0.8 * per_second)

    def test_passes_the_commands_output_and_exit_code_on(self):
        done, measured = measure(MODEL, ["sh", "-c", "echo hello; exit 7"])
        self.assertEqual(done.returncode, 7)
        self.assertEqual(measured["exit_code"], 7)
        self.assertEqual(done.stdout.splitlines()[0], "hello")

    def test_says_how_a_command_ended_that_did_not_exit(self):
        self.assertEqual(measure(MODEL, ["sh", "-c", "kill -KILL $$"])[0].returncode, 128 + 9)
        self.assertEqual(measure(MODEL, ["/there/is/none"])[0].returncode, 127)
        self.assertEqual(measure(MODEL, ["/etc/passwd"])[0].returncode, 126)

    def test_hands_signals_on_to_the_command(self):
        script = "trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done"
        with subprocess.Popen([WATTLE, "energy", *MODEL, "--", "sh", "-c", script],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            process.stdout.readline()
            process.send_signal(signal.SIGTERM)
            self.assertEqual(process.wait(timeout=30), 5)

    def test_replays_a_trace(self):
        with tempfile.NamedTemporaryFile("w", suffix=".csv") as trace:
            trace.write("seconds,watts\n0,200\n100,200\n")
            trace.flush()
            _, measured = measure(["--meter", "trace", "--trace", trace.name], ["sleep", "0.5"])
        self.assertEqual(measured["energy_source"], "replayed:trace")
        self.assertAlmostEqual(measured["power_watts"], 200, delta=10)

    def test_a_trace_that_ends_too_early_leaves_a_gap(self):
        with tempfile.NamedTemporaryFile("w", suffix=".csv") as trace:
            trace.write("0,200\n0.2,200\n")
            trace.flush()
            _, measured = measure(["--meter", "trace", "--trace", trace.name], ["sleep", "1"])
        self.assertGreater(measured["devices"][0]["gap_seconds"], 0.5)
        self.assertIn("the trace ended", measured["devices"][0]["last_gap"])

    def test_refuses_what_it_cannot_do(self):
        for arguments in ([], ["--meter", "trace", "--", "true"], ["--trace", "x", "--", "true"],
                          ["--meter", "guess", "--", "true"], ["--bogus"]):
            done = subprocess.run([WATTLE, "energy", *arguments], capture_output=True, timeout=60)
            self.assertEqual(done.returncode, 2, arguments)


if __name__ == "__main__":
    WATTLE = sys.argv.pop(1)
    unittest.main()
