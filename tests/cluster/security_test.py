"""What an attacker, or a broken client, may try: all of it is refused and logged, and the daemon
goes on for everyone else. The client is Debian's Python gRPC, speaking the .proto file by itself."""

import ctypes
import os
import pathlib
import resource
import socket
import sys
import time
import types
import unittest

import grpc

from cluster import ROOT, Cluster, ClusterTest, eventually

sys.path.insert(0, str(ROOT / "tests" / "support"))
from wattle_messages import MESSAGES

MEGABYTE = 1 << 20
IDLE, UPLOADS = 8, 12  # seconds that a stream may stall, and how many of them a user may have
FILES = 4096  # the fewest that wattled starts with

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join(['*' + last] * 9)}]\n" for last, name in zip("abcdefgh", "bcdefghi"))


pb = types.SimpleNamespace(**MESSAGES)


def endless(first=None):
    """A stream's messages: at most one, then silence."""
    if first is not None:
        yield first
    while True:
        time.sleep(3600)


class SecurityTest(ClusterTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.site = Cluster(agents=1, daemon=f"""
upload_idle_seconds: {IDLE}
uploads_per_user: {UPLOADS}
max_jobs: {{user: 50}}
""")
        cls.addClassCleanup(cls.site.__exit__)
        cls.site.__enter__()
        cls.daemon = cls.site.processes["wattled"]

    def tearDown(self):
        """Whatever was tried: the daemon is the same process and takes the next job."""
        self.assertIsNone(self.daemon.poll(), self.site.log()[-3000:])
        job = self.site.submit("ada", self.site.job_file("after", steps=2))[0]
        self.site.wait_for_state(job, "COMPLETED")

    def channel(self, name: str, folder: str = "certs"):
        certs = self.site.folder / folder
        key, chain = ((certs / f"{name}.{end}").read_bytes() for end in ("key", "crt")) \
            if name else (None, None)
        credentials = grpc.ssl_channel_credentials((certs / "ca.crt").read_bytes(), key, chain)
        channel = grpc.secure_channel(self.site.address, credentials,
                                      options=[("grpc.max_send_message_length", -1)])
        self.addCleanup(channel.close)
        return channel

    def call(self, channel, method: str, request, timeout: float = 20):
        """The answer's status code and message."""
        try:
            channel.unary_unary(f"/wattle.v1.{method}", request.SerializeToString,
                                lambda data: data)(request, timeout=timeout)
            return grpc.StatusCode.OK, ""
        except grpc.RpcError as error:
            return error.code(), error.details()

    def submit_request(self, **fields):
        yaml = self.site.job_file("raw", steps=2).read_text()
        return pb.SubmitRequest(**{"request_id": f"raw-{time.monotonic_ns()}", "yaml": yaml} | fields)

    def daemon_bytes(self) -> int:
        status = pathlib.Path(f"/proc/{self.daemon.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) * 1024

    def assert_logged(self, *words: str):
        """A line of the daemon's log has all the words."""
        def found():
            return any(all(w.lower() in line.lower() for w in words)
                       for line in self.site.log().splitlines())
        eventually(found, f"the log says {words}", 10)

    # ---------------------------------------------------------------- who is there

    def test_no_certificate(self):
        code, _ = self.call(self.channel(""), "Jobs/Queue", pb.QueueRequest())
        self.assertEqual(code, grpc.StatusCode.UNAVAILABLE)
        self.assert_logged("handshake")

    def test_certificate_of_another_authority(self):
        self.site.certs("init", folder="other")
        self.site.certs("issue", "user", "ada", "--tenant", "team-a", folder="other")
        certs = self.site.folder / "certs"
        for end in ("crt", "key"):
            (certs / f"stranger.{end}").write_bytes(
                (self.site.folder / "other" / f"user-ada.{end}").read_bytes())
        code, _ = self.call(self.channel("stranger"), "Jobs/Queue", pb.QueueRequest())
        self.assertEqual(code, grpc.StatusCode.UNAVAILABLE)
        self.assert_logged("handshake")

    def test_expired_certificate(self):
        self.site.certs("issue", "user", "late", "--tenant", "team-a", "--valid", "1s")
        time.sleep(2.5)
        before = self.refused_handshakes()
        code, _ = self.call(self.channel("user-late"), "Jobs/Queue", pb.QueueRequest())
        self.assertEqual(code, grpc.StatusCode.UNAVAILABLE)
        eventually(lambda: self.refused_handshakes() > before, "the log says so", 10)
        done = self.site.run("late", "queue", "--deadline", "5")
        self.assertEqual(done.returncode, 1)
        self.assertIn("not expired", done.stderr)

    def refused_handshakes(self) -> int:
        """gRPC's own lines, which name no peer."""
        return self.site.log().count("certificate verify failed")

    def test_plain_text(self):
        with grpc.insecure_channel(self.site.address) as channel:
            code, _ = self.call(channel, "Jobs/Queue", pb.QueueRequest(), timeout=5)
        self.assertIn(code, (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED))

    # ---------------------------------------------------------------- who may what

    def test_another_tenants_job_is_not_there(self):
        secret = self.site.submit("ada", self.site.job_file("secret-name", steps=2))[0]
        self.site.wait_for_state(secret, "COMPLETED")
        bob = self.channel("user-bob")
        for method, request in (("Show", pb.ShowRequest), ("Explain", pb.ExplainRequest),
                                ("Cancel", pb.CancelRequest)):
            code, text = self.call(bob, f"Jobs/{method}", request(job=secret))
            self.assertEqual(code, grpc.StatusCode.NOT_FOUND, method)
            self.assertNotIn("secret-name", text)
            # Word for word what is said of a job that never was.
            absent = self.call(bob, f"Jobs/{method}", request(job=10**6))
            self.assertEqual(text.replace(str(secret), "N"), absent[1].replace(str(10**6), "N"))
        for name, message in (("Logs", pb.LogsRequest), ("Watch", pb.WatchRequest)):
            stream = bob.unary_stream(f"/wattle.v1.Jobs/{name}", message.SerializeToString,
                                      lambda data: data)(message(job=secret), timeout=20)
            with self.assertRaises(grpc.RpcError) as raised:
                next(stream)
            self.assertEqual(raised.exception.code(), grpc.StatusCode.NOT_FOUND, name)
        self.assertNotIn("secret-name", self.site.wattle("bob", "queue", "--all", "--json"))
        self.assertNotIn("secret-name", self.site.wattle("bob", "report", "--by", "job", "--json"))
        self.assertIn("secret-name", self.site.wattle("amy", "queue", "--all", "--json"))
        self.assert_logged("user-bob" if "user-bob" in self.site.log() else "bob", "cancel")

    def test_users_are_no_operators(self):
        for request, method in ((pb.SetCapRequest(request_id="x", watts=1), "Cluster/SetCap"),
                                (pb.SetBudgetRequest(tenant="team-a"), "Cluster/SetBudget"),
                                (pb.DrainRequest(node="n1"), "Cluster/Drain"),
                                (pb.RemoveNodeRequest(node="n1"), "Cluster/RemoveNode")):
            for user in ("user-ada", "user-amy"):
                code, text = self.call(self.channel(user), method, request)
                self.assertEqual(code, grpc.StatusCode.PERMISSION_DENIED, (method, user, text))
            self.assert_logged(method.split("/")[1])
        self.assertEqual(self.site.json("eve", "cap", "show")["hard_watts"], 1000)

    def test_a_node_is_no_user_and_a_user_no_node(self):
        code, _ = self.call(self.channel("node-n1"), "Jobs/Queue", pb.QueueRequest())
        self.assertEqual(code, grpc.StatusCode.PERMISSION_DENIED)
        registration = pb.AgentMessage(registration=pb.Registration(node="n1"))
        for name in ("user-ada", "user-eve"):
            self.assertEqual(self.attach(name, registration), grpc.StatusCode.PERMISSION_DENIED)

    def test_a_node_speaks_for_itself_alone(self):
        self.site.certs("issue", "node", "impostor")
        registration = pb.AgentMessage(registration=pb.Registration(node="n1"))
        self.assertEqual(self.attach("node-impostor", registration),
                         grpc.StatusCode.PERMISSION_DENIED)
        self.site.wait_for_nodes(1)

    def attach(self, name: str, first, timeout: float = 20):
        stream = self.channel(name).stream_stream(
            "/wattle.v1.Agent/Attach", lambda m: m.SerializeToString(), lambda data: data)
        try:
            for _ in stream(endless(first), timeout=timeout):
                pass
            return grpc.StatusCode.OK
        except grpc.RpcError as error:
            return error.code()

    # ---------------------------------------------------------------- what is sent

    def test_paths_outside_the_jobs_directory(self):
        ada = self.channel("user-ada")
        for path in ("../x", "/etc/cron.d/x", "a/../../x", "", "a/./../..", "run.yaml/../../x"):
            reference = pb.FileRef(path=path, sha256="0" * 64, size_bytes=1)
            code, text = self.call(ada, "Jobs/Submit", self.submit_request(inputs=[reference]))
            self.assertEqual(code, grpc.StatusCode.INVALID_ARGUMENT, (path, text))
        for output in ("../out", "/tmp/wattle-out", "a/../../b"):
            request = self.submit_request(overrides=[f"run.output_dir={output}"])
            code, text = self.call(ada, "Jobs/Submit", request)
            self.assertEqual(code, grpc.StatusCode.INVALID_ARGUMENT, (output, text))

    def test_a_yaml_bomb(self):
        before = self.daemon_bytes()
        for yaml in (BOMB, "[" * 500000, "{a: " * 100000, "a: &a [*a]\n", "\0\xff" * 1000,
                     "x: " + "y" * (2 * MEGABYTE)):
            began = time.monotonic()
            code, text = self.call(self.channel("user-ada"), "Jobs/Submit",
                                   self.submit_request(yaml=yaml))
            self.assertIn(code, (grpc.StatusCode.INVALID_ARGUMENT,
                                 grpc.StatusCode.RESOURCE_EXHAUSTED), (yaml[:20], text))
            self.assertLess(time.monotonic() - began, 15, yaml[:20])
        self.assertLess(self.daemon_bytes() - before, 200 * MEGABYTE)

    def test_messages_of_100_megabytes(self):
        """gRPC may hold one that arrives before it refuses it, but keeps none of them."""
        before = self.daemon_bytes()
        for _ in range(4):
            code, _ = self.call(self.channel("user-ada"), "Jobs/Submit",
                                self.submit_request(yaml="#" * (100 * MEGABYTE)), timeout=60)
            self.assertEqual(code, grpc.StatusCode.RESOURCE_EXHAUSTED)
        self.assertLess(self.daemon_bytes() - before, 200 * MEGABYTE)

    def test_nonsense_instead_of_messages(self):
        ada = self.channel("user-ada")
        for method in ("Jobs/Submit", "Jobs/Show", "Cluster/GetCap"):
            with self.assertRaises(grpc.RpcError):
                ada.unary_unary(f"/wattle.v1.{method}")(b"\xff\xfe\xfd" * 100, timeout=20)

    def test_refusals_that_are_large(self):
        before = self.database_bytes()
        reference = pb.FileRef(path="/" + "x" * (3 * MEGABYTE), sha256="0" * 64, size_bytes=1)
        for _ in range(20):
            code, text = self.call(self.channel("user-bob"), "Jobs/Submit",
                                   self.submit_request(inputs=[reference]))
            self.assertEqual(code, grpc.StatusCode.INVALID_ARGUMENT, text[:200])
            self.assertLess(len(text), 2100)
        self.assertLess(self.database_bytes() - before, 2 * MEGABYTE)

    def database_bytes(self) -> int:
        return sum(file.stat().st_size for file in (self.site.folder / "daemon").glob("wattle.db*"))

    # ---------------------------------------------------------------- streams that stall

    def daemon_threads(self) -> int:
        return len(list(pathlib.Path(f"/proc/{self.daemon.pid}/task").iterdir()))

    def stalled_upload(self):
        chunk = pb.FileChunk(file=pb.FileRef(path="x", sha256="0" * 64, size_bytes=10))
        return self.channel("user-amy").stream_unary(
            "/wattle.v1.Jobs/Upload", lambda m: m.SerializeToString(),
            lambda data: data).future(endless(chunk), timeout=300)

    def test_streams_that_stall(self):
        """None of these clients has a deadline that ends before the test: the daemon ends them."""
        threads = self.daemon_threads()
        host, port = self.site.address.split(":")
        sockets = [socket.create_connection((host, int(port))) for _ in range(64)]
        self.addCleanup(lambda: [link.close() for link in sockets])
        uploads = [self.stalled_upload() for _ in range(2 * UPLOADS)]
        # Those beyond a user's share are refused at once, with a reason.
        refused = eventually(lambda: (ended := [u for u in uploads if u.done()])
                             and len(ended) >= UPLOADS and ended, "the excess is refused", IDLE / 2)
        self.assertEqual(len(refused), UPLOADS)
        for upload in refused:
            self.assertEqual(upload.code(), grpc.StatusCode.RESOURCE_EXHAUSTED, upload.details())
        self.assert_logged("amy", "upload", "wait for one of them")
        # Others are served while the rest hang.
        job = self.site.submit("bob", self.site.job_file("meanwhile", steps=2),
                               "--input", f"{self.site.job_file('data')}=data")[0]
        eventually(lambda: all(upload.done() for upload in uploads), "all uploads end", 2 * IDLE)
        self.assert_logged("amy", "upload", "nothing of the file has come")
        self.site.wait_for_state(job, "COMPLETED")
        eventually(lambda: self.daemon_threads() < threads + UPLOADS / 2, "threads come back", 60)

    def test_more_jobs_than_a_user_may_have(self):
        refused = self.site.run("ada", "submit", self.site.job_file("many", steps=2), "--array",
                                "0-60", "--no-plan")
        self.assertEqual(refused.returncode, 1, refused.stdout)
        self.assertIn("at most 50 at a time: 61 more were to come", refused.stderr)

    def test_an_agent_that_says_nothing(self):
        began = time.monotonic()
        self.assertNotEqual(self.attach("node-n1", None, timeout=300), grpc.StatusCode.OK)
        self.assertLess(time.monotonic() - began, 30)
        self.assert_logged("expected a registration within 5 s")


def listening_socket(pid: int, port: int) -> socket.socket:
    """Another process's, as one of ours."""
    pidfd_getfd = 438
    process = os.pidfd_open(pid)
    try:
        for entry in pathlib.Path(f"/proc/{pid}/fd").iterdir():
            if not os.readlink(entry).startswith("socket:"):
                continue
            number = ctypes.CDLL(None, use_errno=True).syscall(pidfd_getfd, process, int(entry.name), 0)
            if number < 0:
                raise OSError(ctypes.get_errno(), "pidfd_getfd")
            link = socket.socket(fileno=number)
            if link.family == socket.AF_INET and link.getsockname()[1] == port:
                return link
            link.close()
    finally:
        os.close(process)
    raise AssertionError(f"process {pid} does not listen on port {port}")


class FloodTest(ClusterTest):
    """A daemon that may open few files, soft and hard, as the system lets it."""

    def limited(self, soft: int, hard: int) -> dict:
        return {"prefixes": {"wattled": ("prlimit", f"--nofile={soft}:{hard}")}}

    def test_more_idle_sockets_than_open_files(self):
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        site = self.cluster(**self.limited(1024, FILES))
        job = site.submit("ada", site.job_file("before", steps=100000))[0]
        site.wait_for_state(job, "RUNNING")
        host, port = site.address.split(":")
        sockets = [socket.create_connection((host, int(port)), 10) for _ in range(FILES + 200)]
        self.addCleanup(lambda: [link.close() for link in sockets])
        files = pathlib.Path(f"/proc/{site.processes['wattled'].pid}/fd")
        self.assertLess(len(list(files.iterdir())), FILES * 4 // 5, "some are left for the journal")
        # None of them is closed at this end: the daemon closes what shows no certificate.
        eventually(lambda: site.run("ada", "queue", "--deadline", "5").returncode == 0,
                   "a client is served", 30)
        site.submit("bob", site.job_file("meanwhile", steps=2))
        self.assertEqual(site.show(job)["state"], "RUNNING")
        self.assertIn("connections are closed at once", site.log())

    def test_a_socket_that_is_no_listening_one_any_more(self):
        """wattled does not live on deaf: it ends and says why, and a new start goes on."""
        site = self.cluster(agents=0)
        daemon = site.processes["wattled"]
        with listening_socket(daemon.pid, int(site.address.split(":")[1])) as link:
            link.shutdown(socket.SHUT_RDWR)
        self.assertEqual(daemon.wait(30), 1)
        self.assertIn("[critical] nobody can connect any more: listen: " + site.address, site.log())
        site.start("wattled")
        eventually(lambda: site.run("eve", "queue").returncode == 0, "it is back", 30)

    def test_too_few_open_files_to_begin_with(self):
        site = Cluster(agents=0, **self.limited(64, 1024))
        self.addCleanup(site.__exit__)
        site.start("wattled")
        self.assertEqual(site.processes["wattled"].wait(30), 2)
        self.assertIn("open files: expected a hard limit of at least 4096, got 1024", site.log())


if __name__ == "__main__":
    unittest.main()
