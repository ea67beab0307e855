"""The checker of the demo's samples finds what it is there to find."""

import sys
import unittest

from cluster import ROOT

sys.path.insert(0, str(ROOT / "launch" / "demo"))
from check_samples import check, missing  # noqa: E402


def sample(time: float, cap: float, limits: float, drawn: float, running=None) -> dict:
    return {"time": time, "hard_watts": cap, "limit_watts": limits, "watts": drawn,
            "running": {"1": ["a", "b"], "2": ["c"]} if running is None else running}


def run(**changes) -> list:
    """150 W for 20 s, then 90 W, met after 3 s; with changes from some second on."""
    samples = []
    for second in range(60):
        is_low = second >= 20
        limits = 88 if second >= 23 else 145
        samples.append(sample(second, 90 if is_low else 150, limits, limits * 0.9))
    for second, change in changes.get("at", {}).items():
        samples[second] |= change
    return samples


class CheckSamplesTest(unittest.TestCase):
    def test_a_good_run_passes(self):
        self.assertEqual(check(run()) + missing(run()), [])

    def test_planned_watts_above_the_cap(self):
        self.assertEqual(len(check(run(at={5: {"limit_watts": 150.1}}))), 1)
        self.assertEqual(len(check(run(at={40: {"limit_watts": 90.1}}))), 1)

    def test_a_lower_cap_that_is_met_late(self):
        late = {second: {"limit_watts": 145} for second in range(23, 33)}
        self.assertEqual(len(check(run(at=late))), 2)

    def test_a_lower_cap_is_no_leave_to_rise(self):
        self.assertEqual(len(check(run(at={22: {"limit_watts": 151}}))), 1)

    def test_drawn_watts_count_10_s_after_the_change(self):
        self.assertEqual(check(run(at={29: {"watts": 140}})), [])
        self.assertEqual(len(check(run(at={31: {"watts": 95}}))), 1)
        self.assertEqual(check(run(at={31: {"watts": 94}})), [])

    def test_a_run_that_shows_nothing_is_no_proof(self):
        flat = [sample(second, 150, 100, 50, {}) for second in range(30)]
        self.assertEqual(len(missing(flat)), 3)
        self.assertIn("nothing was drawn", missing([s | {"watts": 0} for s in run()]))
        self.assertIn("the cap was never nearly used",
                      missing([s | {"limit_watts": 40} for s in run()]))


if __name__ == "__main__":
    unittest.main()
