"""A TCP proxy whose wire can be cut: what is sent meanwhile is not lost or refused, it just does not
arrive, as behind a broken switch."""

import select
import socket
import threading


class Proxy:
    def __init__(self, target: str):
        host, port = target.split(":")
        self.target = (host, int(port))
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.is_whole = threading.Event()
        self.is_whole.set()
        self.is_over = threading.Event()
        threading.Thread(target=self.accept, daemon=True).start()

    def cut(self):
        self.is_whole.clear()

    def mend(self):
        self.is_whole.set()

    def close(self):
        self.is_over.set()
        self.is_whole.set()
        self.listener.close()

    def accept(self):
        while not self.is_over.is_set():
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.carry, args=(near,), daemon=True).start()

    def carry(self, near: socket.socket):
        """Carries bytes both ways until one side is gone."""
        self.is_whole.wait()
        with near:
            try:
                far = socket.create_connection(self.target, timeout=5)
            except OSError:
                return
            with far:
                other = {near: far, far: near}
                while not self.is_over.is_set():
                    readable, _, _ = select.select([near, far], [], [], 0.5)
                    self.is_whole.wait()
                    for end in readable:
                        try:
                            data = end.recv(65536)
                            if not data:
                                return
                            other[end].sendall(data)
                        except OSError:
                            return
