"""Nodes that share nothing but a wire: network namespaces with host names and process numbers of
their own, joined by veths and a bridge on which the test itself has the address NETWORK.254.
"""

import os
import subprocess


def ip(*words: str):
    subprocess.run(["ip", *words], check=True)


class Namespaces:
    """Made for one test and removed after it; skips it, and says why, where they can't be made."""

    def __init__(self, test, network: str, count: int = 2):
        if os.geteuid() != 0:
            test.skipTest("makes network namespaces, which needs root")
        if subprocess.run(["unshare", "--mount", "true"], stderr=subprocess.DEVNULL).returncode != 0:
            test.skipTest("enters namespaces of its own, which this system (a chroot, a container) "
                          "does not let it do")
        self.host = f"{network}.254"
        self.names = [f"wattle-{os.getpid()}-{i}" for i in range(1, count + 1)]
        bridge = f"wb{os.getpid()}"[:15]
        ip("link", "add", bridge, "type", "bridge")
        test.addCleanup(subprocess.run, ["ip", "link", "del", bridge])
        ip("addr", "add", f"{self.host}/24", "dev", bridge)
        ip("link", "set", bridge, "up")
        for i, name in enumerate(self.names, 1):
            outer = f"wv{os.getpid()}{i}"[:15]
            ip("netns", "add", name)
            test.addCleanup(subprocess.run, ["ip", "netns", "del", name])
            ip("link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", name)
            # A namespace that is deleted goes when its last process has, and its end of the wire too.
            test.addCleanup(subprocess.run, ["ip", "link", "del", outer], stderr=subprocess.DEVNULL)
            ip("link", "set", outer, "master", bridge, "up")
            ip("-n", name, "addr", "add", f"{network}.{i}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
            ip("-n", name, "link", "set", "lo", "up")

    def inside(self, name: str) -> list:
        """The words before a command that make it a process of that node."""
        renamed = f"hostname {name} && exec \"$@\""
        return ["ip", "netns", "exec", name, "unshare", "--uts", "--pid", "--fork", "--kill-child",
                "--mount-proc", "sh", "-c", renamed, "sh"]

    def bytes_received(self, name: str) -> int:
        text = subprocess.run(["ip", "netns", "exec", name, "cat",
                               "/sys/class/net/eth0/statistics/rx_bytes"],
                              capture_output=True, text=True, check=True).stdout
        return int(text)
