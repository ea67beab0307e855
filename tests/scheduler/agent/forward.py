"""forward.py FROM_HOST:PORT TO_HOST:PORT: hands TCP connections on, until it is killed."""

import socket
import sys
import threading


def address(text: str):
    host, port = text.rsplit(":", 1)
    return host, int(port)


def pump(source: socket.socket, sink: socket.socket):
    try:
        while data := source.recv(1 << 16):
            sink.sendall(data)
    except OSError:
        pass
    for end in (source, sink):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def main():
    listener = socket.create_server(address(sys.argv[1]))
    while True:
        near, _ = listener.accept()
        try:
            far = socket.create_connection(address(sys.argv[2]), timeout=10)
        except OSError:
            near.close()
            continue
        far.settimeout(None)
        for pair in ((near, far), (far, near)):
            threading.Thread(target=pump, args=pair, daemon=True).start()


if __name__ == "__main__":
    main()
