"""A daemon that does what a test tells it: real gRPC on a loopback port, no scheduler behind it."""

import concurrent.futures
import hashlib
import pathlib
import queue
import sys
import threading
import time

import grpc

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
from wattle_messages import MESSAGES

SERVICE = "wattle.v1.Agent"
GENEROUS = 60  # seconds that anything may take on a loaded machine


class Stream:
    """One Attach: the agent's registration, what it said since, and what it is to be told."""

    def __init__(self, registration):
        self.registration = registration
        self.said = []
        self.outgoing = queue.Queue()
        self.is_open = True


class FakeDaemon:
    lease_seconds = 30
    orphan_grace_seconds = 20
    heartbeat_seconds = 0.3
    report_seconds = 0.5

    def __init__(self, port: int = 0, address: str = "127.0.0.1"):
        self.changed = threading.Condition()
        self.streams = {}  # node -> the newest one
        self.epoch = 0
        self.sequence = 0
        self.files = {}  # sha256 -> bytes
        self.logs = {}  # token -> bytes
        self.hosts = {}  # token -> nodes, the first one first
        self.renews = True
        self.log_bytes = 0
        self.records_exits = True
        self.relays = True
        self.refusal = None
        self.answer_delays = []  # seconds by which the next registrations are answered late
        self.address = address
        self.port = port
        self.start()

    # ------------------------------------------------------------ the server

    def start(self):
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(32))
        handlers = {
            "Attach": grpc.stream_stream_rpc_method_handler(
                self.attach, MESSAGES["AgentMessage"].FromString,
                MESSAGES["Command"].SerializeToString),
            "Fetch": grpc.unary_stream_rpc_method_handler(
                self.fetch, MESSAGES["FileRef"].FromString,
                MESSAGES["FileChunk"].SerializeToString),
            "Store": grpc.stream_unary_rpc_method_handler(
                self.store, MESSAGES["FileChunk"].FromString,
                MESSAGES["FileRef"].SerializeToString),
        }
        self.server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, handlers),))
        port = self.server.add_insecure_port(f"{self.address}:{self.port}")
        assert port != 0, f"port {self.port} is taken"
        self.port = port
        self.server.start()

    def stop(self):
        with self.changed:
            for stream in self.streams.values():
                stream.is_open = False
                stream.outgoing.put(None)
        self.server.stop(0.1).wait()

    def attach(self, requests, context):
        if self.refusal:
            context.abort(*self.refusal)
        registration = next(requests).registration
        if self.answer_delays:
            time.sleep(self.answer_delays.pop(0))
        stream = Stream(registration)
        with self.changed:
            self.epoch += 1
            old = self.streams.get(registration.node)
            self.streams[registration.node] = stream
            self.changed.notify_all()
        if old:
            old.outgoing.put(None)
        terms = MESSAGES["Command"]()
        terms.registered.epoch = self.epoch
        for key in ("lease_seconds", "orphan_grace_seconds", "heartbeat_seconds", "report_seconds",
                    "log_bytes"):
            setattr(terms.registered, key, getattr(self, key))
        for token, log in self.logs.items():
            terms.registered.logs.add(token=token, bytes=len(log))
        threading.Thread(target=self.listen, args=(requests, stream), daemon=True).start()
        yield terms
        while True:
            command = stream.outgoing.get()
            if command is None:
                return
            yield command

    def listen(self, requests, stream):
        try:
            for message in requests:
                self.take(stream, message)
        except grpc.RpcError:
            pass
        except Exception:  # the call is over
            pass
        stream.is_open = False
        stream.outgoing.put(None)

    def take(self, stream, message):
        kind = message.WhichOneof("body")
        body = getattr(message, kind)
        if kind == "heartbeat":
            if self.renews:
                self.reply(stream, lease_renewal={"heartbeat": body.number})
            return
        with self.changed:
            stream.said.append((kind, body))
            if kind == "log_chunk":
                log = self.logs.get(body.token, b"")
                if body.offset <= len(log):
                    self.logs[body.token] = log[:body.offset] + body.data
            self.changed.notify_all()
        if kind == "run_exited" and stream.registration.node == self.hosts.get(body.token, [""])[0]:
            for other in self.hosts.pop(body.token)[1:]:  # as the scheduler's core does
                self.send(other, kill={"token": body.token})
        if kind == "run_exited" and self.records_exits:
            self.reply(stream, exit_recorded={"token": body.token})
        if kind in ("remote_start", "remote_result") and self.relays:
            self.relay(stream, kind, body)

    def relay(self, stream, kind, body):
        to = self.streams.get(body.node)
        if kind == "remote_start":
            setattr(body, "from", stream.registration.node)
        if to:
            command = MESSAGES["Command"]()
            getattr(command, kind).CopyFrom(body)
            to.outgoing.put(command)

    @staticmethod
    def reply(stream, **body):
        stream.outgoing.put(MESSAGES["Command"](**body))

    def fetch(self, ref, context):
        if ref.sha256 not in self.files:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no file with content {ref.sha256}")
        data = self.files[ref.sha256]
        for at in range(0, max(1, len(data)), 1 << 20):
            yield MESSAGES["FileChunk"](data=data[at:at + (1 << 20)])

    def store(self, chunks, context):
        first = next(chunks)
        data = first.data + b"".join(chunk.data for chunk in chunks)
        digest = hashlib.sha256(data).hexdigest()
        if digest != first.file.sha256:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "another content than was promised")
        self.files[digest] = data
        return first.file

    # ------------------------------------------------------------ what a test says and sees

    def add_file(self, path: str, data: bytes):
        digest = hashlib.sha256(data).hexdigest()
        self.files[digest] = data
        return {"path": path, "sha256": digest, "size_bytes": len(data)}

    def next_sequence(self) -> int:
        self.sequence += 1
        return self.sequence

    def send(self, node: str, **body):
        self.reply(self.streams[node], **body)

    def launch(self, token: int, yaml: str, nodes=("n1",), ranks=1, watts=30.0, job=None, **more):
        """One Launch to each of the nodes, `ranks` ranks on each."""
        hosts = [{"node": node, "ranks": ranks} for node in nodes]
        self.hosts[token] = list(nodes)
        for node in nodes:
            self.send(node, launch={
                "job": job or token, "token": token, "sequence": self.next_sequence(),
                "devices": list(range(ranks)), "limit_watts": watts, "ranks": ranks * len(nodes),
                "hosts": hosts, "name": f"job-{token}", "tenant": "team-a", "user": "ann",
                "yaml": yaml, **more})

    def wait(self, what: str, condition, timeout: float = GENEROUS):
        """The first true value of condition(); tells what did not happen otherwise."""
        deadline = time.monotonic() + timeout
        with self.changed:
            while True:
                value = condition()
                if value:
                    return value
                left = deadline - time.monotonic()
                if left <= 0:
                    raise AssertionError(f"{what}: not within {timeout} s; said: {self.summary()}")
                self.changed.wait(min(left, 0.2))

    def summary(self) -> str:
        return "; ".join(f"{node}: {[kind for kind, _ in stream.said][-20:]}"
                         for node, stream in self.streams.items())

    def wait_registered(self, node: str = "n1", after: int = 0, timeout: float = GENEROUS):
        """The registration of a stream that was opened after that epoch."""
        def registered():
            stream = self.streams.get(node)
            return stream if stream and self.epoch > after and stream.is_open else None
        return self.wait(f"{node} registers", registered, timeout).registration

    def all_said(self, kind: str, node: str = "n1") -> list:
        stream = self.streams.get(node)
        return [body for said, body in stream.said if said == kind] if stream else []

    def wait_said(self, kind: str, node: str = "n1", timeout: float = GENEROUS, **fields):
        """The first message of that kind, now or later, whose fields are as given."""
        def said():
            for body in self.all_said(kind, node):
                if all(getattr(body, key) == value for key, value in fields.items()):
                    return body
            return None
        return self.wait(f"{node} says {kind} {fields}", said, timeout)

    def wait_measured(self, token: int, condition, node: str = "n1", timeout: float = GENEROUS):
        def measured():
            return next((body for body in self.all_said("measured", node)
                         if body.token == token and condition(body)), None)
        return self.wait(f"{node} measures run {token}", measured, timeout)

    def log(self, token: int) -> str:
        return self.logs.get(token, b"").decode(errors="replace")
