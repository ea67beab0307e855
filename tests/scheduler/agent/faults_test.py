"""What a job's files hold, and what goes wrong with one run, ends at most that run; and whose files
they are.
"""

import json
import os
import subprocess
import time
import unittest

from agent_runs import AgentTest, SLEEPER, processes_of


class FaultsTest(AgentTest):
    def fail_with(self, token: int, path: str, content: str):
        """The end of a run whose trainer fails and leaves what the user has put there."""
        self.daemon.launch(token, self.yaml(),
                           inputs=[self.daemon.add_file(path, content.encode())])
        return self.daemon.wait_said("run_exited", token=token)

    def test_a_first_cause_may_be_anything(self):
        agent = self.agent(train_program=self.program("exit 1\n"))
        causes = {"out/error.json": ['{"message": "no such shape"}', '{"message": 5}', '{}', "[1]",
                                     '{"message": ', "\x00\xff"], "out/error.json/deep": ["x"]}
        ends = [self.fail_with(token, path, text) for token, (path, text) in enumerate(
            ((path, text) for path in causes for text in causes[path]), 1)]
        self.assertEqual([end.exit_code for end in ends], [1] * len(ends))
        self.assertEqual([end.error for end in ends], ["no such shape"] + [""] * (len(ends) - 1))
        self.assertIsNone(agent.process.poll(), agent.log())

    def test_a_rank_that_was_killed_says_so(self):
        self.agent(train_program=self.program("echo step 1/9\nkill -9 $$\n"))
        self.daemon.launch(1, self.yaml())
        exited = self.daemon.wait_said("run_exited", token=1)
        self.assertRegex(exited.error, "exited on signal 9")

    def test_what_a_program_prints_is_no_cause(self):
        self.agent(train_program=self.program("echo step 1/9\nexit 1\n"))
        self.daemon.launch(1, self.yaml())
        exited = self.daemon.wait_said("run_exited", token=1)
        self.assertEqual((exited.exit_code, exited.error), (1, ""))

    def test_a_first_cause_has_a_bound(self):
        self.agent(train_program=self.program("exit 1\n"))
        long = self.fail_with(1, "out/error.json", '{"message": "' + "ä" * 20000 + '"}')
        self.assertTrue(long.error.startswith("ää") and long.error.endswith("ä..."))
        self.assertLess(len(long.error.encode()), 2100)
        self.assertEqual(self.fail_with(2, "out/error.json",
                                        json.dumps({"message": "x" * (5 << 20)})).error, "")
        self.assertEqual(self.daemon.epoch, 1, "it has registered again")

    def prints(self, token: int, mebibytes: int) -> float:
        """Seconds from the end of a program that prints so much to the report of it."""
        program = self.program(f"head -c {mebibytes}M /dev/zero | tr '\\0' x\ndate +%s.%N >ended\n")
        agent = self.agent(train_program=program)
        self.daemon.launch(token, self.yaml())
        self.daemon.wait_said("run_exited", token=token)
        return time.time() - float((agent.job(token) / "ended").read_text())

    def test_what_a_run_has_printed_does_not_hold_its_devices_for_long(self):
        seconds = self.prints(1, 12)
        self.assertEqual(len(self.daemon.log(1)), 12 << 20)
        self.assertLess(seconds, 10)

    def test_what_nobody_keeps_of_a_log_is_not_sent(self):
        self.daemon.log_bytes = 1 << 20
        seconds = self.prints(1, 400)
        self.assertEqual(len(self.daemon.log(1)), (1 << 20) + 1)  # that there is more
        self.assertLess(seconds, 10)

    def test_a_run_that_cannot_go_on_is_ended_alone(self):
        agent = self.agent(train_program=self.program(SLEEPER))
        for token in (1, 2):
            self.daemon.launch(token, self.yaml(), devices=[token - 1])
            self.daemon.wait_said("run_started", token=token)
        (agent.run_folder(1) / "ending.json").write_text("{}")  # the agent's own note
        exited = self.daemon.wait_said("run_exited", token=1)
        self.assertIn("exit_code", exited.error)
        self.assertEqual((exited.exit_code, exited.blameless, exited.node_at_fault),
                         (137, True, False))
        self.assertFalse(processes_of(agent.run_folder(1)))
        self.assertIsNone(agent.process.poll(), agent.log())
        self.daemon.send("n1", stop={"token": 2, "reason": "Cancelled"})
        self.assertEqual(self.daemon.wait_said("run_exited", token=2).exit_code, 75)

    def test_a_slow_daemon_does_not_keep_the_agent_from_its_other_runs(self):
        stored, _ = self.stall_stores()
        agent = self.agent(train_program=self.program(
            "mkdir -p out/checkpoints/step-1; echo x > out/checkpoints/step-1/weights\n"
            "while [ ! -e stop ]; do sleep 0.1; done; exit 0\n"))
        self.daemon.launch(1, self.yaml())
        self.wait("its checkpoint is on its way", stored.is_set)
        (agent.job(1) / "stop").touch()
        self.daemon.wait_said("run_exited", token=1)
        self.daemon.launch(2, self.yaml())
        self.daemon.wait_said("run_started", token=2)
        self.assertEqual(self.daemon.epoch, 1, "it has registered again")

    def test_a_run_whose_notes_are_broken_is_no_run(self):
        agent = self.agent(train_program=self.program(SLEEPER))
        for token in (1, 2):
            self.daemon.launch(token, self.yaml(), devices=[token - 1])
            self.daemon.wait_said("run_started", token=token)
        epoch = self.daemon.epoch
        agent.kill()
        (agent.run_folder(1) / "keeper.json").write_text("{}")
        agent.start()
        [held] = self.daemon.wait_registered(after=epoch).runs
        self.assertEqual(held.token, 2)
        self.wait_gone(agent.run_folder(1))


# A job that leaves a file, and says by its exit code that it has found one.
LEAVER = "[ -e out/mine ] && exit 3\nmkdir -p out; touch out/mine; exit 0\n"
FOUND, NEW = 3, 0

# The NFS client's renameat2().
NFS = """#include <errno.h>
int renameat2(int a, const char* b, int c, const char* d, unsigned flags) {
  (void)a, (void)b, (void)c, (void)d, (void)flags;
  errno = EINVAL;
  return -1;
}
"""


class FolderTest(AgentTest):
    """Whose files lie in a job's folder, where jobs of several schedulers have the same number."""

    def expect(self, token: int, exit_code: int, state_id: str = "", tenant: str = "team-a"):
        self.daemon.launch(token, self.yaml(), job=1, tenant=tenant,
                           request=f"{state_id} {tenant}/nightly".strip())
        exited = self.daemon.wait_said("run_exited", token=token)
        self.assertEqual((exited.exit_code, exited.error), (exit_code, ""))

    def test_a_request_id_may_come_again_in_another_state_dir(self):
        agent = self.agent(train_program=self.program(LEAVER))
        self.expect(1, NEW, state_id="a" * 32)
        self.expect(2, FOUND, state_id="a" * 32)
        self.expect(3, NEW, state_id="b" * 32)
        self.assertTrue((agent.work / "jobs" / "1.other-1" / "out" / "mine").exists())

    def test_a_folder_of_an_older_version_is_the_jobs(self):
        self.agent(train_program=self.program(LEAVER))
        self.expect(1, NEW)
        self.expect(2, FOUND, state_id="a" * 32)
        self.expect(3, NEW, state_id="b" * 32)

    @unittest.skipUnless(os.geteuid() == 0, "becomes other accounts, which needs root")
    def test_a_folder_of_another_account_is_set_aside(self):
        self.folder.chmod(0o711)
        agent = self.agent(train_program=self.program(LEAVER),
                           accounts="[{tenant: team-a, account: nobody}, "
                                    "{tenant: team-b, account: daemon}]")
        self.expect(1, NEW, state_id="a" * 32)
        self.expect(2, FOUND, state_id="a" * 32)
        self.expect(3, NEW, state_id="b" * 32, tenant="team-b")
        self.assertTrue((agent.work / "jobs" / "1.other-1" / "out" / "mine").exists())

    def test_folders_are_set_aside_on_nfs_too(self):
        shim = self.folder / "nfs.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", shim], input=NFS, text=True,
                       check=True)
        agent = self.agent(train_program=self.program(LEAVER),
                           prefix=["env", f"LD_PRELOAD={shim}"])
        for token, request in enumerate("abc", 1):
            self.daemon.launch(token, self.yaml(), job=1, request=request)
            exited = self.daemon.wait_said("run_exited", token=token)
            self.assertEqual((exited.exit_code, exited.error), (NEW, ""))
        self.assertEqual(sorted(path.name for path in (agent.work / "jobs").iterdir()),
                         ["1", "1.other-1", "1.other-2"])


if __name__ == "__main__":
    unittest.main()
