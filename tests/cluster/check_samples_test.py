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

    def test_drawn_watts_count_on_average_from_10_s_after_the_change(self):
        def drawn(watts, seconds):
            return check(run(at={second: {"watts": watts} for second in seconds}))
        self.assertEqual(drawn(140, range(20, 31)), [])
        self.assertEqual(drawn(94, range(20, 60)), [])
        self.assertEqual(drawn(120, [45]), [])
        self.assertEqual(len(drawn(120, range(45, 50))), 8)  # 4 of 10 s at 120 W, the rest at 79
        self.assertEqual(len(drawn(95, range(31, 60))), 19)

    def test_a_run_that_shows_nothing_is_no_proof(self):
        flat = [sample(second, 150, 100, 50, {}) for second in range(30)]
        self.assertEqual(len(missing(flat)), 3)
        self.assertIn("nothing was drawn", missing([s | {"watts": 0} for s in run()]))
        self.assertIn("for more than 30 s nothing was sampled",
                      missing(run()[:10] + run()[41:]))
        self.assertIn("the cap was never nearly used",
                      missing([s | {"limit_watts": 40} for s in run()]))


if __name__ == "__main__":
    unittest.main()
