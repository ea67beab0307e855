"""`wattle certs`, judged by OpenSSL and by Python's TLS."""

import json
import os
import pathlib
import re
import shutil
import socket
import ssl
import stat
import subprocess
import sys
import tempfile
import threading
import time
import unittest


def openssl(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(["openssl", *arguments], capture_output=True, text=True, timeout=60)


class CertsTest(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="wattle-test-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.dir = self.folder / "certs"

    def certs(self, *arguments: str, expect: int = 0, folder=None) -> str:
        done = subprocess.run([WATTLE, "certs", *arguments, "--dir", str(folder or self.dir)],
                              capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, expect, done.stdout + done.stderr)
        return done.stdout if expect == 0 else done.stderr

    def make_site(self):
        self.certs("init", "--site", "lab")
        self.certs("issue", "daemon", "--host", "127.0.0.1", "--host", "head.lab.example")
        self.certs("issue", "node", "gpu-1")
        self.certs("issue", "user", "ada", "--tenant", "team-a", "--role", "tenant-admin")

    def text_of(self, name: str) -> str:
        return openssl("x509", "-in", str(self.dir / name), "-noout", "-text").stdout

    def test_openssl_trusts_what_was_issued_for_its_use_alone(self):
        self.make_site()
        for name, use, other in (("daemon", "sslserver", "sslclient"),
                                 ("node-gpu-1", "sslclient", "sslserver"),
                                 ("user-ada", "sslclient", "sslserver")):
            verify = ["verify", "-x509_strict", "-CAfile", str(self.dir / "ca.crt")]
            done = openssl(*verify, "-purpose", use, str(self.dir / f"{name}.crt"))
            self.assertEqual(done.returncode, 0, done.stderr)
            done = openssl(*verify, "-purpose", other, str(self.dir / f"{name}.crt"))
            self.assertNotEqual(done.returncode, 0, f"{name} passes as {other}")

    def test_the_holder_stands_in_the_uri_name(self):
        self.make_site()
        for name, identity in (("ca", "spiffe://lab"), ("daemon", "spiffe://lab/daemon"),
                               ("node-gpu-1", "spiffe://lab/node/gpu-1"),
                               ("user-ada", "spiffe://lab/tenant/team-a/user/ada/role/tenant-admin")):
            self.assertEqual(re.findall(r"URI:([^\s,]+)", self.text_of(f"{name}.crt")), [identity])
        self.assertIn("DNS:head.lab.example", self.text_of("daemon.crt"))
        self.assertIn("IP Address:127.0.0.1", self.text_of("daemon.crt"))
        self.assertIn("CA:TRUE, pathlen:0", self.text_of("ca.crt"))

    def test_mutual_tls_works_between_daemon_and_user(self):
        self.make_site()
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(self.dir / "daemon.crt", self.dir / "daemon.key")
        server.load_verify_locations(self.dir / "ca.crt")
        server.verify_mode = ssl.CERT_REQUIRED
        client = ssl.create_default_context(cafile=str(self.dir / "ca.crt"))
        client.load_cert_chain(self.dir / "user-ada.crt", self.dir / "user-ada.key")
        with socket.create_server(("127.0.0.1", 0)) as listener:
            def answer():
                with server.wrap_socket(listener.accept()[0], server_side=True) as peer:
                    names = [value for kind, value in peer.getpeercert()["subjectAltName"]]
                    peer.sendall(names[0].encode())
            thread = threading.Thread(target=answer)
            thread.start()
            with client.wrap_socket(socket.create_connection(listener.getsockname()),
                                    server_hostname="127.0.0.1") as link:
                self.assertEqual(link.recv(200).decode(),
                                 "spiffe://lab/tenant/team-a/user/ada/role/tenant-admin")
            thread.join(30)

    def test_files_are_their_owners_alone(self):
        previous = os.umask(0)
        self.addCleanup(os.umask, previous)
        self.make_site()
        files = sorted(path.name for path in self.dir.iterdir())
        self.assertEqual(files, ["ca.crt", "ca.key", "daemon.crt", "daemon.key", "node-gpu-1.crt",
                                 "node-gpu-1.key", "user-ada.crt", "user-ada.key"])
        for path in self.dir.iterdir():
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600, path)

    def test_nothing_is_overwritten(self):
        self.make_site()
        before = {path: path.read_bytes() for path in self.dir.iterdir()}
        self.assertIn("never overwritten", self.certs("init", expect=2))
        self.assertIn("never overwritten", self.certs("issue", "node", "gpu-1", expect=2))
        os.remove(self.dir / "user-ada.key")
        del before[self.dir / "user-ada.key"]
        self.certs("issue", "user", "ada", expect=2)
        self.assertEqual({path: path.read_bytes() for path in self.dir.iterdir()}, before)

    def test_a_certificate_expires(self):
        self.certs("init")
        self.certs("issue", "user", "bob", "--valid", "1s")
        self.assertIn("0 days left", self.certs("show", str(self.dir / "user-bob.crt")))
        time.sleep(2.1)
        self.assertIn("expired", self.certs("show"))
        done = openssl("verify", "-CAfile", str(self.dir / "ca.crt"), str(self.dir / "user-bob.crt"))
        self.assertIn("expired", done.stdout + done.stderr)

    def test_no_certificate_outlives_its_authority(self):
        self.certs("init", "--valid", "10d")
        refusal = self.certs("issue", "node", "n1", "--valid", "11d", expect=2)
        self.assertRegex(refusal, "ends in (9|10) days")
        self.certs("issue", "node", "n1", "--valid", "9d")

    def test_show_as_json(self):
        self.make_site()
        shown = {pathlib.Path(c["file"]).stem: c for c in json.loads(self.certs("show", "--json"))}
        self.assertEqual(shown["daemon"]["hosts"], ["127.0.0.1", "head.lab.example"])
        self.assertEqual(shown["node-gpu-1"]["holder"], "spiffe://lab/node/gpu-1")
        fingerprint = openssl("x509", "-in", str(self.dir / "ca.crt"), "-noout", "-fingerprint",
                              "-sha256").stdout.split("=")[1].strip().replace(":", "").lower()
        self.assertEqual(shown["ca"]["sha256"], fingerprint)
        self.assertTrue(shown["ca"]["is_authority"])

    def test_refuses_what_can_not_be(self):
        self.assertIn("wattle certs init", self.certs("issue", "node", "n1", expect=2))
        self.assertIn("lower-case", self.certs("init", "--site", "My Lab", expect=2))
        self.make_site()
        self.assertIn("letters", self.certs("issue", "node", "../n1", expect=2))
        self.assertIn("DNS name", self.certs("issue", "daemon", "--host", "a b", expect=2,
                                             folder=self.other_site()))
        self.assertIn("--role", self.certs("issue", "user", "u", "--role", "root", expect=2))
        self.assertIn("duration", self.certs("issue", "user", "u", "--valid", "soon", expect=2))
        (self.dir / "ca.crt").write_text("no certificate")
        self.assertIn("expected a certificate", self.certs("issue", "node", "n2", expect=1))

    def other_site(self) -> pathlib.Path:
        other = self.folder / "other"
        self.certs("init", folder=other)
        return other

    def test_a_key_of_another_authority_is_found_out(self):
        self.make_site()
        shutil.copy(self.other_site() / "ca.key", self.dir / "ca.key")
        self.assertIn("not the key", self.certs("issue", "node", "n2", expect=1))
        self.assertFalse((self.dir / "node-n2.key").exists())


if __name__ == "__main__":
    WATTLE = sys.argv.pop(1)
    unittest.main()
