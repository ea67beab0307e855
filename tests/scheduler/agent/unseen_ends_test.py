"""What is charged for a run whose end nobody has seen: its agent and its keeper were killed."""

import os
import signal
import subprocess
import time
import unittest

from agent_runs import IDLE, STUBBORN, AgentTest

LIMIT = 30  # watts
AWAY = 4  # seconds
# What the processes may have used before, and starts and ends of programs.
SLACK = 3 * LIMIT


class UnseenEndsTest(AgentTest):
    def start_run(self, program: str):
        agent = self.agent(train_program=self.program(program))
        self.daemon.launch(1, self.yaml(), watts=LIMIT)
        self.daemon.wait_said("run_started", token=1)
        return agent

    def kill_both(self, agent):
        keeper = agent.keeper(1)
        agent.kill()
        os.kill(keeper, signal.SIGKILL)
        time.sleep(AWAY)

    def test_it_is_charged_its_limit(self):
        agent = self.start_run(STUBBORN)
        self.kill_both(agent)
        agent.start()
        joules = self.daemon.wait_said("run_exited", token=1).joules
        self.assertGreater(joules, AWAY * LIMIT)
        self.assertLess(joules, AWAY * LIMIT + SLACK)

    def test_so_it_is_when_something_of_it_is_left(self):
        agent = self.start_run(STUBBORN)
        left = subprocess.Popen(["sleep", "1000"], env={
            "WATTLE_RUN": str(agent.run_folder(1)), "PATH": os.environ["PATH"]})
        self.addCleanup(left.kill)
        self.kill_both(agent)
        agent.start()
        self.assertEqual(left.wait(timeout=60), -signal.SIGKILL)
        joules = self.daemon.wait_said("run_exited", token=1).joules
        self.assertGreater(joules, AWAY * LIMIT)
        self.assertLess(joules, AWAY * LIMIT + SLACK)

    def test_it_is_charged_once(self):
        """By the agent that finds it ended, not again by the next: a checkpoint is stored yet."""
        stored, goes_on = self.stall_stores()
        began = time.monotonic()
        agent = self.start_run("mkdir -p out/checkpoints/step-1; echo x > "
                               "out/checkpoints/step-1/weights\n" + STUBBORN)
        self.wait("its checkpoint is on its way", stored.is_set)
        os.kill(agent.keeper(1), signal.SIGKILL)
        self.wait("the end is noted", lambda: (agent.run_folder(1) / "ending.json").exists())
        seconds = time.monotonic() - began
        epoch = self.daemon.epoch
        agent.kill()
        time.sleep(AWAY)
        agent.start()
        self.daemon.wait_registered(after=epoch)
        goes_on.set()
        joules = self.daemon.wait_said("run_exited", token=1).joules
        self.assertGreater(joules, IDLE)
        self.assertLess(joules, seconds * LIMIT + LIMIT)


if __name__ == "__main__":
    unittest.main()
