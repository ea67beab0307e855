"""The node agent against a daemon that does what the test says, with real training jobs."""

import json
import os
import signal
import subprocess
import time
import unittest

from agent_runs import AgentTest, BUSY, IDLE, LOWEST, MAX, SLEEPER, STUBBORN, processes_of
from wattle_runs import BIN


class RunTest(AgentTest):
    def test_registers_its_devices(self):
        self.agent()
        registration = self.daemon.wait_registered()
        self.assertEqual(registration.node, "n1")
        self.assertEqual(registration.meter, "estimated:model")
        [group] = registration.devices
        self.assertEqual((group.type, group.count), ("cpu", 2))
        self.assertEqual((group.idle_watts, group.min_limit_watts, group.max_limit_watts,
                          group.safe_watts), (IDLE, LOWEST, MAX, LOWEST))

    def test_runs_a_training_job(self):
        agent = self.agent()
        self.daemon.launch(1, self.yaml(steps=40), inputs=self.text())
        self.daemon.wait_said("acknowledged", sequence=1)
        self.daemon.wait_said("run_started", token=1)
        measured = self.daemon.wait_measured(1, lambda m: m.units > 0)
        self.assertEqual(measured.limit_watts, 30)
        self.assertGreater(measured.watts, 0)
        self.assertIn("energy_joules", measured.metrics)
        exited = self.daemon.wait_said("run_exited", token=1)
        self.assertEqual((exited.exit_code, exited.error), (0, ""))
        self.assertEqual(exited.tokens, 40 * 4 * 32)
        self.assertEqual(self.daemon.all_said("measured")[-1].units, 40)
        self.assertGreater(exited.joules, 0)
        self.assertEqual([e.source for e in exited.energy], ["estimated:model"])
        self.assertIn("step 40/40", self.daemon.log(1))
        self.wait("the run's folder goes", lambda: not agent.run_folder(1).exists())
        self.assertFalse(list((agent.work / "sessions").iterdir()), "session files are left")
        self.daemon.wait_said("power_sample")

    def test_the_limit_reaches_the_trainer(self):
        agent = self.agent()
        self.daemon.launch(1, self.yaml(steps=100000), inputs=self.text(), watts=40)
        self.daemon.wait_measured(1, lambda m: m.units > 20)
        self.assertEqual(agent.cap(1), 40)
        self.daemon.send("n1", set_limit={"token": 1, "devices": [0], "limit_watts": 15,
                                          "sequence": self.daemon.next_sequence()})
        self.daemon.wait_said("acknowledged", sequence=2)
        self.assertEqual(agent.cap(1), 15)
        # Half of a 12 W margin: the trainer's pauses even out within seconds.
        self.daemon.wait_measured(1, lambda m: m.limit_watts == 15 and IDLE < m.watts < 17)
        self.daemon.send("n1", kill={"token": 1})
        self.assertEqual(self.daemon.wait_said("run_exited", token=1).exit_code, 137)
        self.assertFalse(processes_of(self.folder))

    def test_ranks_that_do_not_pace_themselves_are_held_back(self):
        self.agent(train_program=self.program(BUSY))
        self.daemon.launch(1, self.yaml(), inputs=self.text(), watts=LOWEST)
        self.wait_mean_watts("n1", lambda watts: IDLE < watts < LOWEST * 1.05)
        self.daemon.send("n1", stop={"token": 1, "reason": "Preempted"})  # and may end at once
        self.assertEqual(self.daemon.wait_said("run_exited", token=1, timeout=20).exit_code, 75)

    def test_a_failed_job_says_why(self):
        self.agent()
        self.daemon.launch(1, self.yaml().replace("text.txt", "missing.txt"))
        exited = self.daemon.wait_said("run_exited", token=1)
        self.assertEqual((exited.exit_code, exited.error),
                         (2, "run.yaml:3:26: data.path: no such file: 'missing.txt'"))
        self.assertIn(exited.error, self.daemon.log(1))

    def test_joules_end_it_with_a_checkpoint(self):
        self.agent()
        self.daemon.launch(1, self.yaml(steps=100000), inputs=self.text())
        self.daemon.send("n1", lease_joules={"token": 1, "joules": 100})
        exited = self.daemon.wait_said("run_exited", token=1)
        self.assertEqual(exited.exit_code, 75)
        self.assertGreaterEqual(exited.joules, 100)
        # At most what the two processors can draw while the trainer saves and MPI ends.
        self.assertLess(exited.joules, 100 + 30 * MAX)
        self.assertTrue(exited.checkpoint)

    def test_goes_on_at_another_node_from_the_checkpoint(self):
        self.agent("n1")
        other = self.agent("n2")
        self.daemon.launch(1, self.yaml(steps=3000, every=50), inputs=self.text(), watts=16)
        self.daemon.wait_measured(1, lambda m: m.units > 60)
        self.daemon.send("n1", stop={"token": 1, "reason": "Preempted"})
        exited = self.daemon.wait_said("run_exited", token=1)
        self.assertEqual(exited.exit_code, 75)
        done = max(m.units for m in self.daemon.all_said("measured"))
        self.daemon.launch(2, self.yaml(steps=3000, every=500), nodes=["n2"], job=1, watts=50,
                           inputs=self.text(), checkpoint=[
                               {"path": f.path, "sha256": f.sha256, "size_bytes": f.size_bytes}
                               for f in exited.checkpoint])
        self.assertEqual(self.daemon.wait_said("run_exited", "n2", token=2).exit_code, 0)
        second = [r["step"] for r in other.metrics(1) if r["attempt"] == 2 and r["phase"] == "train"]
        self.assertGreaterEqual(second[0], done)
        self.assertEqual(second[-1], 3000)

    def test_another_job_of_the_number_finds_none_of_its_files(self):
        """As when the daemon begins a new state_dir beside agents that go on."""
        self.agent()
        jobs = self.folder / "work-n1" / "jobs"
        for token, request in ((1, "a/1"), (2, "a/1"), (3, "b/1")):
            self.daemon.launch(token, self.yaml(steps=20 * token), job=1, request=request,
                               inputs=self.text())
            self.assertEqual(self.daemon.wait_said("run_exited", token=token).exit_code, 0)
        self.assertIn("going on after step 20", self.daemon.log(2))
        self.assertNotIn("going on", self.daemon.log(3))
        self.assertTrue([*jobs.glob("1.other-1/out/checkpoints/step-40")])

    def test_a_checkpoint_is_safe_while_the_run_goes_on(self):
        self.agent()
        self.daemon.launch(1, self.yaml(steps=100000, every=20), inputs=self.text())
        measured = self.daemon.wait_measured(1, lambda m: len(m.checkpoint) > 0)
        for part in measured.checkpoint:
            self.assertEqual(len(self.daemon.files[part.sha256]), part.size_bytes)
        self.assertTrue(any(f.path.endswith("meta.json") for f in measured.checkpoint))


class StopTest(AgentTest):
    def test_sigkill_is_the_last_word(self):
        self.agent(train_program=self.program(STUBBORN), stop_grace_seconds=1)
        self.daemon.launch(1, self.yaml())
        self.daemon.wait_said("run_started", token=1)
        self.daemon.send("n1", stop={"token": 1, "reason": "Cancelled"})
        exited = self.daemon.wait_said("run_exited", token=1)
        self.assertNotIn(exited.exit_code, (0, 75))
        self.assertFalse(processes_of(self.folder))

    def test_one_that_is_killed_for_its_joules_has_not_failed(self):
        self.agent(train_program=self.program(STUBBORN), stop_grace_seconds=1)
        self.daemon.launch(1, self.yaml())
        self.daemon.wait_said("run_started", token=1)
        self.daemon.send("n1", lease_joules={"token": 1, "joules": 0.1})
        self.assertEqual(self.daemon.wait_said("run_exited", token=1).exit_code, 75)

    def test_stopped_before_it_began(self):
        self.agent(train_program=self.program(SLEEPER))
        self.daemon.launch(1, self.yaml())
        self.daemon.send("n1", stop={"token": 1, "reason": "Cancelled"})
        self.assertIn(self.daemon.wait_said("run_exited", token=1).exit_code, (75, 138))

    def test_nothing_is_left_of_a_command_that_ended(self):
        self.agent(train_program=self.program("setsid sleep 1000 & disown\nexit 3\n"))
        self.daemon.launch(1, self.yaml())
        self.assertEqual(self.daemon.wait_said("run_exited", token=1).exit_code, 3)
        self.assertFalse(processes_of(self.folder))


class CrashTest(AgentTest):
    """kill -9 of the agent, of a keeper, of a rank."""

    def test_a_run_goes_on_and_is_taken_over(self):
        agent = self.agent()
        self.daemon.launch(1, self.yaml(steps=300), inputs=self.text())
        before = self.daemon.wait_measured(1, lambda m: m.units > 5)
        epoch = self.daemon.epoch
        agent.kill()
        steps = len(agent.metrics(1))
        self.wait("the run goes on without an agent", lambda: len(agent.metrics(1)) > steps + 5)
        agent.start()
        [held] = self.daemon.wait_registered(after=epoch).runs
        self.assertEqual((held.token, held.limit_watts, list(held.devices)), (1, 30, [0]))
        self.assertGreaterEqual(held.joules, before.joules)
        self.assertAlmostEqual(sum(part.joules for part in held.energy), held.joules)
        exited = self.daemon.wait_said("run_exited", token=1)
        self.assertEqual(exited.exit_code, 0)
        records = [r for r in agent.metrics(1) if r["phase"] == "train"]
        self.assertEqual([r["step"] for r in records], list(range(1, 301)), "it ran more than once")
        self.assertIn("step 300/300", self.daemon.log(1))

    def test_an_end_without_an_agent_is_told_later(self):
        agent = self.agent(train_program=self.program("sleep 1; echo bye; exit 7\n"))
        began = time.monotonic()
        self.daemon.launch(1, self.yaml())
        self.daemon.wait_said("run_started", token=1)
        epoch = self.daemon.epoch
        agent.kill()
        self.wait("the run ends", lambda: (agent.run_folder(1) / "ending.json").exists())
        seconds = time.monotonic() - began
        cpu_seconds = json.loads((agent.run_folder(1) / "ending.json").read_text())["cpu_seconds"]
        time.sleep(5)
        agent.start()
        self.daemon.wait_registered(after=epoch)
        exited = self.daemon.wait_said("run_exited", token=1)
        self.assertEqual(exited.exit_code, 7)
        self.assertIn("bye", self.daemon.log(1))
        self.assertLess(exited.joules, (seconds + 1) * IDLE + cpu_seconds * (MAX - IDLE))

    def test_no_joule_is_lost_or_counted_twice(self):
        agent = self.agent(train_program=self.program(BUSY))
        began = time.monotonic()
        self.daemon.launch(1, self.yaml())
        self.daemon.wait_said("run_started", token=1)
        for _ in range(3):
            time.sleep(1)
            epoch = self.daemon.epoch
            agent.kill()
            time.sleep(1)
            agent.start()
            self.daemon.wait_registered(after=epoch)
        self.daemon.send("n1", stop={"token": 1, "reason": "Cancelled"})
        exited = self.daemon.wait_said("run_exited", token=1)
        seconds = time.monotonic() - began
        # One device, idle all the time, and busy for the processor time that it really got.
        self.assertGreater(exited.joules, 6 * IDLE)
        self.assertLess(exited.joules, seconds * MAX * 1.05)

    def test_the_launch_survives_at_any_moment(self):
        agent = self.agent(train_program=self.program("sleep 0.5; exit 0\n"))
        for token in range(1, 6):
            epoch = self.daemon.epoch
            self.daemon.launch(token, self.yaml())
            self.daemon.wait_said("acknowledged", sequence=self.daemon.sequence)
            time.sleep(0.03 * token)
            agent.kill()
            agent.start()
            self.daemon.wait_registered(after=epoch)
            self.assertEqual(self.daemon.wait_said("run_exited", token=token).exit_code, 0)

    def test_a_killed_keeper_leaves_no_orphans(self):
        agent = self.agent(train_program=self.program(STUBBORN))
        self.daemon.launch(1, self.yaml())
        self.daemon.wait_said("run_started", token=1)
        self.wait("ranks run", lambda: len(processes_of(self.folder)) >= 2)
        keeper = agent.keeper(1)
        os.kill(keeper, signal.SIGKILL)
        exited = self.daemon.wait_said("run_exited", token=1)
        self.assertEqual((exited.exit_code, exited.blameless, exited.node_at_fault),
                         (137, True, False))
        self.assertIn("killed", exited.error)
        self.assertFalse(processes_of(self.folder))

    def check_nothing_runs_on(self, agent, is_running):
        """With nobody left to end it, a real mpirun and its ranks end by themselves."""
        self.daemon.launch(1, self.yaml(steps=10**6, every=0), ranks=2, inputs=self.text())
        self.wait("it runs", is_running)
        self.assertGreaterEqual(len(processes_of(self.folder)), 3)
        keeper = agent.keeper(1)
        agent.kill()
        os.kill(keeper, signal.SIGKILL)
        self.wait_gone(self.folder, 10)
        agent.start()
        exited = self.daemon.wait_said("run_exited", token=1)
        self.assertEqual((exited.exit_code, exited.blameless), (137, True))

    def test_nothing_runs_on_when_agent_and_keeper_are_killed(self):
        agent = self.agent()
        self.check_nothing_runs_on(agent, lambda: any(
            m.units > 0 for m in self.daemon.all_said("measured")))

    def test_nor_do_ranks_that_mpi_has_no_hold_of(self):
        agent = self.agent(train_program=self.program(STUBBORN))
        self.check_nothing_runs_on(agent, lambda: len(processes_of(self.folder)) >= 5)

    def test_orphans_of_a_run_that_is_gone_are_ended(self):
        agent = self.agent(start=False)
        orphan = subprocess.Popen(["sleep", "1000"], env={
            "WATTLE_RUN": str(agent.run_folder(99)), "PATH": os.environ["PATH"]})
        agent.start()
        self.daemon.wait_registered()
        self.assertEqual(orphan.wait(timeout=60), -signal.SIGKILL)

    def test_only_one_agent_uses_a_folder(self):
        agent = self.agent()
        second = subprocess.run([str(BIN / "wattle-agent"), str(agent.config)],
                                capture_output=True, text=True, timeout=60)
        self.assertEqual(second.returncode, 2)
        self.assertIn("in use by another agent", second.stderr)


class BadInputTest(AgentTest):
    def refused(self, node_at_fault: bool = False, **launch) -> str:
        self.daemon.launch(1, **({"yaml": self.yaml()} | launch))
        exited = self.daemon.wait_said("run_exited", token=1)
        self.assertEqual(exited.exit_code, 127)
        self.assertEqual(exited.node_at_fault, node_at_fault)
        return exited.error

    def test_no_path_leaves_the_job_folder(self):
        self.agent(train_program=self.program("exit 0\n"))
        outside = self.daemon.add_file("../../outside.txt", b"x")
        self.assertIn("inside the job's folder", self.refused(inputs=[outside]))
        self.assertFalse(list(self.folder.rglob("outside.txt")))

    def test_no_output_leaves_the_job_folder(self):
        self.agent(train_program=self.program("exit 0\n"))
        self.assertIn("run.output_dir", self.refused(yaml=self.yaml(output_dir="/etc/wattle")))

    def test_a_file_that_the_daemon_does_not_have(self):
        self.agent(train_program=self.program("exit 0\n"))
        missing = {"path": "a.txt", "sha256": "0" * 64, "size_bytes": 3}
        self.assertIn("no file with content", self.refused(inputs=[missing]))

    def test_another_content_than_was_promised(self):
        self.agent(train_program=self.program("exit 0\n"))
        wrong = self.daemon.add_file("a.txt", b"abc")
        self.daemon.files[wrong["sha256"]] = b"abd"
        self.assertIn("expected content", self.refused(inputs=[wrong]))

    def test_a_program_that_can_not_be_started(self):
        program = self.program("exit 0\n")
        self.agent(train_program=program)
        program.unlink()
        self.daemon.launch(1, self.yaml())
        exited = self.daemon.wait_said("run_exited", token=1)
        self.assertNotEqual(exited.exit_code, 0)
        self.assertIn(program.name, self.daemon.log(1))

    @unittest.skipUnless(os.geteuid() == 0, "mounts a small disk, which needs root")
    def test_a_full_disk(self):
        jobs = self.folder / "small"
        jobs.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(jobs)], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", str(jobs)])
        self.agent(jobs_dir=jobs)
        big = self.daemon.add_file("big.bin", os.urandom(1 << 20))
        self.assertIn("No space left", self.refused(node_at_fault=True, inputs=[big]))
        self.daemon.launch(2, self.yaml(steps=100), inputs=self.text())
        exited = self.daemon.wait_said("run_exited", token=2)
        self.assertEqual((exited.exit_code, exited.node_at_fault), (1, True))
        self.assertIn("No space left", self.daemon.log(2))
        self.assertEqual(exited.error, "No space left on the disk of the jobs' folders")

    @unittest.skipUnless(os.geteuid() == 0, "becomes another account, which needs root")
    def test_runs_as_another_account(self):
        self.folder.chmod(0o711)
        agent = self.agent(train_program=self.program("id -un > who; touch /etc/wattle-x; exit 0\n"),
                           run_as="nobody")
        self.daemon.launch(1, self.yaml())
        self.assertEqual(self.daemon.wait_said("run_exited", token=1).exit_code, 0)
        self.assertEqual((agent.job(1) / "who").read_text(), "nobody\n")
        self.assertFalse(os.path.exists("/etc/wattle-x"))

    @unittest.skipUnless(os.geteuid() == 0, "becomes other accounts, which needs root")
    def test_tenants_under_their_own_accounts_do_not_reach_each_other(self):
        self.folder.chmod(0o711)
        program = self.program("id -un > who; cat ../1/who > theirs; exit 0\n")
        agent = self.agent(train_program=program,
                           accounts="[{tenant: team-a, account: nobody}, "
                                    "{tenant: team-b, account: daemon}]")
        for token, tenant, account in [(1, "team-a", "nobody"), (2, "team-b", "daemon")]:
            self.daemon.launch(token, self.yaml(), tenant=tenant)
            self.assertEqual(self.daemon.wait_said("run_exited", token=token).exit_code, 0)
            self.assertEqual((agent.job(token) / "who").read_text(), account + "\n")
        self.assertEqual((agent.job(2) / "theirs").read_text(), "")
        self.assertIn("Permission denied", self.daemon.log(2))
        self.daemon.launch(3, self.yaml(), tenant="team-c")
        exited = self.daemon.wait_said("run_exited", token=3)
        self.assertEqual((exited.exit_code, exited.node_at_fault), (127, False))
        self.assertIn("no account for the tenant team-c", exited.error)

    def test_an_mpirun_that_hangs_when_its_ranks_have_ended_is_killed(self):
        """As OpenMPI's does once in some hundred ranks killed: a lock of PMIx is never released."""
        programs = self.folder / "programs"
        programs.mkdir()
        (programs / "mpirun").write_text("#!/bin/bash\nmkfifo hang; sleep 2; read < hang\n")
        (programs / "mpirun").chmod(0o755)
        self.agent(prefix=["env", f"PATH={programs}:{os.environ['PATH']}"])
        self.daemon.launch(1, self.yaml())
        exited = self.daemon.wait_said("run_exited", token=1)
        self.assertEqual((exited.exit_code, exited.blameless), (137, False))
        self.assertIn("mpirun hangs: all of its processes have ended", self.daemon.log(1))

    def test_limits_hold(self):
        agent = self.agent(train_program=self.program("ulimit -n > files; ulimit -c > core\n"),
                           limits="{open_files: 123}")
        self.daemon.launch(1, self.yaml())
        self.daemon.wait_said("run_exited", token=1)
        self.assertEqual((agent.job(1) / "files").read_text(), "123\n")
        self.assertEqual((agent.job(1) / "core").read_text(), "0\n")

    def test_a_wrong_configuration_names_its_line(self):
        path = self.folder / "bad.yaml"
        path.write_text("name: n1\nwork_dir: w\nworkdir: x\nstop_grace_seconds: soon\n")
        done = subprocess.run([str(BIN / "wattle-agent"), str(path)], capture_output=True, text=True,
                              timeout=60)
        self.assertEqual(done.returncode, 2)
        self.assertIn("bad.yaml:3:1: workdir", done.stderr)
        self.assertIn("did you mean 'work_dir'", done.stderr)
        self.assertIn("bad.yaml:4:", done.stderr)


if __name__ == "__main__":
    unittest.main()
