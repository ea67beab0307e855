"""What the agent obeys, and for how long: leases, and commands that come late, twice, or for nobody."""

import os
import pathlib
import shutil
import signal
import subprocess
import time
import unittest

from agent_runs import AgentTest, BUSY, IDLE, LOWEST, MAX, SLEEPER, STUBBORN, processes_of


# A file system that does not answer for control.json while there is a file $HANGS.
HANGS = """#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int open(const char* path, int flags, int mode) {
  if (strstr(path, "control.json")) while (access(getenv("HANGS"), F_OK) == 0) usleep(100000);
  return ((int (*)(const char*, int, int))dlsym(RTLD_NEXT, "open"))(path, flags, mode);
}
"""


def name_of(pid: int) -> str:
    return pathlib.Path(f"/proc/{pid}/comm").read_text()


def cpu_seconds_of(folder) -> float:
    """Processor time so far of what runs there."""
    stats = [pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
             for pid in processes_of(folder)]
    return sum(int(s[11]) + int(s[12]) for s in stats) / os.sysconf("SC_CLK_TCK")


class LeaseTest(AgentTest):
    def cut_off(self):
        """The daemon is silent: the stream stands, nothing is answered."""
        self.daemon.renews = False
        self.daemon.refusal = None

    def test_cut_off_it_falls_to_its_safe_limit_then_ends_its_runs(self):
        self.daemon.lease_seconds, self.daemon.orphan_grace_seconds = 3, 12
        agent = self.agent(train_program=self.program(STUBBORN), stop_grace_seconds=3)
        self.daemon.launch(1, self.yaml(), watts=40)
        self.daemon.wait_said("run_started", token=1)
        self.assertEqual(agent.cap(1), 40)
        self.daemon.stop()
        stopped = time.monotonic()
        self.wait("the safe limit", lambda: agent.cap(1) == LOWEST)
        self.assertLess(time.monotonic() - stopped, 3 + 3)
        self.assertTrue(processes_of(self.folder), "ended before the grace was over")
        self.wait_gone(self.folder)
        self.assertLess(time.monotonic() - stopped, 3 + 12 + 3)

    def test_the_same_when_the_agent_is_dead(self):
        self.daemon.lease_seconds, self.daemon.orphan_grace_seconds = 3, 12
        agent = self.agent(train_program=self.program(STUBBORN), stop_grace_seconds=3)
        self.daemon.launch(1, self.yaml(), watts=40)
        self.daemon.wait_said("run_started", token=1)
        agent.kill()
        self.wait("the safe limit", lambda: agent.cap(1) == LOWEST)
        self.wait_gone(self.folder)
        epoch = self.daemon.epoch
        agent.start()
        [held] = self.daemon.wait_registered(after=epoch).runs
        self.assertIn(held.limit_watts, (LOWEST, IDLE))  # it may know already that it has ended
        exited = self.daemon.wait_said("run_exited", token=1)
        self.assertEqual((exited.exit_code, exited.blameless, exited.node_at_fault),
                         (137, True, False))
        self.assertIn("could not be reached", exited.error)

    def test_a_run_whose_power_cannot_be_limited_is_ended_without_blame(self):
        self.daemon.lease_seconds, self.daemon.orphan_grace_seconds = 3, 60
        agent = self.agent(train_program=self.program(STUBBORN))
        self.daemon.launch(1, self.yaml(), watts=40)
        self.daemon.wait_said("run_started", token=1)
        shutil.rmtree(agent.job(1) / "out")
        (agent.job(1) / "out").write_text("in the way of control.json")
        epoch = self.daemon.epoch
        self.daemon.stop()
        self.wait_gone(self.folder)
        self.daemon.start()
        self.daemon.wait_registered(after=epoch)
        exited = self.daemon.wait_said("run_exited", token=1)
        self.assertEqual((exited.exit_code, exited.blameless, exited.node_at_fault),
                         (137, True, False))
        self.assertIn("power can't be limited", exited.error)

    def test_an_agent_that_comes_back_later_leaves_the_safe_limit_in_force(self):
        self.daemon.lease_seconds, self.daemon.orphan_grace_seconds = 3, 60
        agent = self.agent(train_program=self.program(SLEEPER))
        self.daemon.launch(1, self.yaml(), watts=40)
        self.daemon.wait_said("run_started", token=1)
        agent.kill()
        self.wait("the safe limit", lambda: agent.cap(1) == LOWEST)
        epoch = self.daemon.epoch
        agent.start()
        [held] = self.daemon.wait_registered(after=epoch).runs
        self.assertEqual(held.limit_watts, LOWEST)
        told = self.daemon.wait_measured(1, lambda m: True)
        self.assertEqual((told.limit_watts, agent.cap(1)), (LOWEST, LOWEST))

    def test_a_checkpoint_is_saved_before_the_grace_is_over(self):
        self.daemon.lease_seconds, self.daemon.orphan_grace_seconds = 3, 15
        agent = self.agent(stop_grace_seconds=12)
        self.daemon.launch(1, self.yaml(steps=100000, every=0), inputs=self.text())
        self.daemon.wait_measured(1, lambda m: m.units > 5)
        self.daemon.stop()
        self.wait_gone(self.folder)
        self.assertTrue(list(agent.job(1).glob("out/checkpoints/step-*/meta.json")))

    def test_ranks_that_a_dead_agent_has_stopped_are_let_go_to_save(self):
        self.daemon.lease_seconds, self.daemon.orphan_grace_seconds = 3, 12
        agent = self.agent(train_program=self.program(SLEEPER))
        self.daemon.launch(1, self.yaml(), watts=40)
        self.daemon.wait_said("run_started", token=1)
        [rank] = self.wait("the rank", lambda: [pid for pid in processes_of(self.folder)
                                                if name_of(pid).startswith("program")])
        agent.kill()
        self.wait("the safe limit", lambda: agent.cap(1) == LOWEST)
        time.sleep(0.5)
        os.kill(rank, signal.SIGSTOP)
        self.wait_gone(self.folder)
        epoch = self.daemon.epoch
        agent.start()
        self.daemon.wait_registered(after=epoch)
        self.assertEqual(self.daemon.wait_said("run_exited", token=1).exit_code, 75)

    def test_cut_off_it_holds_back_ranks_that_do_not_pace_themselves(self):
        self.daemon.lease_seconds, self.daemon.orphan_grace_seconds = 3, 60
        agent = self.agent(train_program=self.program(BUSY), stop_grace_seconds=5)
        self.daemon.launch(1, self.yaml(), watts=MAX)
        self.daemon.wait_said("run_started", token=1)
        self.daemon.stop()
        self.wait("the safe limit", lambda: agent.cap(1) == LOWEST)
        time.sleep(5)  # what it owes for the time before
        before, began = cpu_seconds_of(self.folder), time.monotonic()
        time.sleep(10)
        used = (cpu_seconds_of(self.folder) - before) / (time.monotonic() - began)
        self.assertLess(used, 1.5 * (LOWEST - IDLE) / (MAX - IDLE))

    def test_a_file_system_that_hangs_keeps_no_run_alive(self):
        """As when a node is cut off from the jobs' shared folder, too."""
        self.daemon.lease_seconds, self.daemon.orphan_grace_seconds = 3, 12
        shim, hangs = self.folder / "hangs.so", self.folder / "hangs"
        subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", shim], input=HANGS,
                       text=True, check=True)
        agent = self.agent(train_program=self.program(STUBBORN),
                           prefix=["env", f"LD_PRELOAD={shim}", f"HANGS={hangs}"])
        self.daemon.launch(1, self.yaml(), watts=40)
        self.daemon.wait_said("run_started", token=1)
        agent.kill()
        killed = time.monotonic()
        hangs.touch()
        self.wait("the end is known", lambda: (agent.run_folder(1) / "ending.json").exists(), 30)
        self.assertLess(time.monotonic() - killed, 3 + 12 + 3)
        self.assertFalse(processes_of(self.folder))
        self.assertEqual(agent.cap(1), 40)

    def test_joules_end_a_run_when_the_agent_is_dead(self):
        agent = self.agent(train_program=self.program(BUSY))
        self.daemon.launch(1, self.yaml(), watts=MAX)
        self.daemon.wait_said("run_started", token=1)
        self.daemon.send("n1", lease_joules={"token": 1, "joules": 8 * MAX})
        measured = self.daemon.wait_measured(1, lambda m: m.joules > 2 * MAX)
        epoch = self.daemon.epoch
        agent.kill()
        self.wait_gone(self.folder, 20)
        agent.start()
        self.assertTrue(self.daemon.wait_registered(after=epoch).runs)
        exited = self.daemon.wait_said("run_exited", token=1)
        self.assertEqual(exited.exit_code, 75)
        self.assertGreater(exited.joules, measured.joules)

    def test_silence_on_a_stream_ends_it(self):
        self.daemon.lease_seconds = 2
        agent = self.agent(train_program=self.program(SLEEPER))
        self.daemon.launch(1, self.yaml(), watts=40)
        self.daemon.wait_said("run_started", token=1)
        epoch = self.daemon.epoch
        self.daemon.renews = False
        [held] = self.daemon.wait_registered(after=epoch).runs
        self.assertEqual(held.limit_watts, LOWEST)
        self.daemon.renews = True
        self.assertTrue(processes_of(self.folder))
        self.wait("the limit it reported holds", lambda: agent.cap(1) == LOWEST)

    def test_a_registration_that_is_answered_too_late_is_said_again(self):
        """Its lease, which counts from when it was sent, is over before it begins."""
        self.daemon.lease_seconds, self.daemon.answer_delays = 2, [3]
        self.agent()
        self.daemon.wait_registered(after=1)
        self.daemon.launch(1, self.yaml(), inputs=self.text())
        self.assertEqual(self.daemon.wait_said("run_exited", token=1).exit_code, 0)

    def test_a_registration_on_shorter_terms_ends_a_longer_lease(self):
        """The daemon counts by the newest terms: what an older one gave for longer is void."""
        self.daemon.lease_seconds, self.daemon.orphan_grace_seconds = 60, 60
        agent = self.agent(train_program=self.program(SLEEPER))
        self.daemon.launch(1, self.yaml(), watts=40)
        self.daemon.wait_said("run_started", token=1)
        self.daemon.stop()
        self.daemon.lease_seconds, epoch = 3, self.daemon.epoch
        self.daemon.start()
        self.daemon.wait_registered(after=epoch)
        self.daemon.stop()
        stopped = time.monotonic()
        self.wait("the safe limit", lambda: agent.cap(1) == LOWEST)
        self.assertLess(time.monotonic() - stopped, 3 + 3)

    def test_finds_a_daemon_that_comes_back(self):
        agent = self.agent(train_program=self.program(SLEEPER))
        self.daemon.launch(1, self.yaml(), watts=40)
        self.daemon.wait_said("run_started", token=1)
        self.daemon.stop()
        time.sleep(2)
        epoch = self.daemon.epoch
        self.daemon.start()
        [held] = self.daemon.wait_registered(after=epoch).runs
        self.assertEqual((held.token, held.limit_watts), (1, 40))
        self.assertEqual(agent.cap(1), 40)


class OrderTest(AgentTest):
    """Commands that come late, twice, or for nobody."""

    def set_limit(self, sequence, watts, token=1):
        self.daemon.send("n1", set_limit={"token": token, "devices": [0], "limit_watts": watts,
                                          "sequence": sequence})

    def test_older_limits_are_dropped_and_acknowledged(self):
        agent = self.agent(train_program=self.program(SLEEPER))
        self.daemon.launch(1, self.yaml(), watts=40)
        self.daemon.wait_said("run_started", token=1)
        self.set_limit(7, 20)
        self.daemon.wait_said("acknowledged", sequence=7)
        self.set_limit(5, 45)
        self.daemon.wait_said("acknowledged", sequence=5)
        self.set_limit(7, 45)
        self.set_limit(9, 25, token=4)  # a run that it does not hold
        self.set_limit(10, 21)
        self.daemon.wait_said("acknowledged", sequence=10)
        self.assertEqual(agent.cap(1), 21)
        self.assertEqual([a.sequence for a in self.daemon.all_said("acknowledged")],
                         [1, 7, 5, 7, 10])

    def test_a_launch_that_comes_twice_runs_once(self):
        agent = self.agent(train_program=self.program("echo once >> count; exit 0\n"))
        for _ in range(2):
            self.daemon.sequence = 0
            self.daemon.launch(1, self.yaml())
        self.daemon.wait_said("run_exited", token=1)
        self.wait("it is forgotten", lambda: not agent.run_folder(1).exists())
        self.daemon.sequence = 0
        self.daemon.launch(1, self.yaml())
        self.wait("both are acknowledged",
                  lambda: len(self.daemon.all_said("acknowledged")) >= 3)
        time.sleep(1)
        self.assertEqual((agent.job(1) / "count").read_text(), "once\n")

    def test_a_launch_that_comes_too_late_has_ended(self):
        self.agent(train_program=self.program("exit 0\n"))
        self.daemon.sequence = 100
        self.daemon.launch(1, self.yaml())
        self.daemon.wait_said("run_exited", token=1)
        self.daemon.sequence = 5  # of a scheduler with another state_dir, whose clock is behind
        self.daemon.launch(2, self.yaml())
        exited = self.daemon.wait_said("run_exited", token=2)
        self.assertEqual((exited.exit_code, exited.blameless, exited.node_at_fault),
                         (127, True, False))
        self.daemon.wait_said("acknowledged", sequence=6)

    def test_a_device_that_is_held_is_not_given_away(self):
        self.agent(train_program=self.program(SLEEPER))
        self.daemon.launch(1, self.yaml())
        self.daemon.launch(2, self.yaml())
        exited = self.daemon.wait_said("run_exited", token=2)
        self.assertEqual(exited.exit_code, 127)
        self.assertIn("held by run 1", exited.error)

    def test_an_end_is_told_until_it_is_recorded(self):
        self.daemon.records_exits = False
        agent = self.agent(train_program=self.program("exit 0\n"))
        self.daemon.launch(1, self.yaml())
        self.wait("it is told twice", lambda: len(self.daemon.all_said("run_exited")) >= 2)
        self.assertTrue(agent.run_folder(1).exists())
        epoch = self.daemon.epoch
        agent.kill()
        agent.start()
        [held] = self.daemon.wait_registered(after=epoch).runs
        self.assertEqual((held.token, held.limit_watts, list(held.devices)), (1, IDLE, []))
        self.assertEqual(self.daemon.wait_said("run_exited", token=1).exit_code, 0)


if __name__ == "__main__":
    unittest.main()
