"""A real Prometheus scrapes wattled and answers a query about what it read."""

import json
import re
import shutil
import subprocess
import unittest
import urllib.parse
import urllib.request

from cluster import ClusterTest, eventually, free_port


class PrometheusTest(ClusterTest):
    def query(self, port: int, expression: str) -> list:
        url = f"http://127.0.0.1:{port}/api/v1/query?" + urllib.parse.urlencode(
            {"query": expression})
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]["result"]
        except OSError:
            return []

    def start_prometheus(self, cluster) -> int:
        program = shutil.which("prometheus")
        self.assertTrue(program, "prometheus is not installed (launch/packages.txt)")
        config = cluster.write("prometheus.yml", f"""
global: {{scrape_interval: 1s}}
scrape_configs:
  - job_name: wattle
    static_configs: [{{targets: ['{cluster.metrics}']}}]
""")
        port = free_port()
        process = subprocess.Popen(
            [program, f"--config.file={config}", f"--web.listen-address=127.0.0.1:{port}",
             f"--storage.tsdb.path={cluster.folder}/prometheus"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(process.wait, 30)
        self.addCleanup(process.kill)
        return port

    def node_joules(self, cluster) -> float:
        """Of all nodes and sources; 0 while wattled does not answer."""
        try:
            with urllib.request.urlopen(f"http://{cluster.metrics}/metrics", timeout=10) as answer:
                text = answer.read().decode()
        except OSError:
            return 0
        return sum(float(value) for value in re.findall(
            r"^wattle_node_energy_joules_total{.*} (\S+)$", text, re.MULTILINE))

    def test_scrapes_and_answers(self):
        cluster = self.cluster(agents=1)
        job = cluster.submit("ada", cluster.job_file(steps=200))[0]
        cluster.wait_for_state(job, "COMPLETED")
        port = self.start_prometheus(cluster)
        up = eventually(lambda: [r for r in self.query(port, 'up{job="wattle"}')
                                 if r["value"][1] == "1"], "Prometheus has scraped wattled", 60, 0.5)
        self.assertEqual(len(up), 1)
        cap = eventually(lambda: self.query(port, "sum(wattle_cap_watts)"), "the cap is known")
        self.assertEqual(float(cap[0]["value"][1]), 1000)
        done = self.query(port, 'wattle_jobs{state="COMPLETED"}')
        self.assertEqual(float(done[0]["value"][1]), 1)
        devices = eventually(lambda: self.query(port, "wattle_device_power_watts"), "devices' watts")
        for device in devices:
            self.assertGreater(float(device["value"][1]), 0)
            self.assertIn(":", device["metric"]["source"])
        joules = eventually(
            lambda: self.query(port, 'sum by (tenant) (wattle_tenant_energy_joules_total)'),
            "joules by tenant")
        used = self.query(port, "sum by (source) (wattle_node_energy_joules_total)")
        by_source = {r["metric"]["source"]: float(r["value"][1]) for r in used}
        self.assertGreater(sum(by_source.values()), 0, by_source)
        by_tenant = {r["metric"].get("tenant"): float(r["value"][1]) for r in joules}
        reported = cluster.json("eve", "report", "--by", "tenant")
        for row in reported:
            self.assertAlmostEqual(by_tenant[row["key"]],
                                   row["measured_joules"] + row["estimated_joules"], delta=0.01)

    def test_node_joules_survive_the_daemon_and_the_agent(self):
        cluster = self.cluster(agents=1)  # no job: what an idle node draws counts, too
        eventually(lambda: self.node_joules(cluster) > 0, "an idle node's joules", 60, 0.5)
        for name in ("n1", "wattled"):
            before = self.node_joules(cluster)
            cluster.kill(name)
            cluster.start(name)
            eventually(lambda: self.node_joules(cluster) > before,
                       f"more joules after {name} was killed", 90, 0.5)

    def test_names_follow_the_conventions(self):
        cluster = self.cluster(agents=1)
        with urllib.request.urlopen(f"http://{cluster.metrics}/metrics", timeout=10) as answer:
            self.assertIn("text/plain", answer.headers["Content-Type"])
            text = answer.read().decode()
        checked = subprocess.run(["promtool", "check", "metrics"], input=text, text=True,
                                 capture_output=True, timeout=60)
        self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)
        for name in re.findall(r"^# TYPE (\S+)", text, re.MULTILINE):
            self.assertRegex(name, "^(wattle|process)_")


if __name__ == "__main__":
    unittest.main()
