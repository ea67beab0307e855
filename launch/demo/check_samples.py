"""Checks samples.jsonl of the demo: in every sample the planned watts (the sum of the limits that
may be in force) are at most the cap, and what is drawn from 10 s after a change of the cap on is at
most 5 % above it, on average over 10 s: that is how trainers hold their limits, by pauses. While a
lower cap is being met, for at most 10 s, the cap before it counts."""

import json
import sys

MEET_SECONDS = 10
MEAN_SECONDS = 10
TOLERANCE = 0.05
LONGEST_GAP_SECONDS = 30


def mean_watts(samples: list, index: int) -> float:
    """Drawn over the MEAN_SECONDS up to a sample."""
    since = samples[index]["time"] - MEAN_SECONDS
    watts = [s["watts"] for s in samples[:index + 1] if s["time"] > since]
    return sum(watts) / len(watts)


def check(samples: list) -> list:
    """What is wrong, in words; nothing if all is well."""
    wrong = []
    changed, previous = float("-inf"), samples[0]["hard_watts"]
    for index, sample in enumerate(samples):
        before = samples[max(0, index - 1)]
        if sample["hard_watts"] != before["hard_watts"]:
            changed, previous = sample["time"], before["hard_watts"]
        age = sample["time"] - changed
        cap = sample["hard_watts"] if age > MEET_SECONDS else max(previous, sample["hard_watts"])
        at = f"at {sample['time'] - samples[0]['time']:.1f} s"
        if sample["limit_watts"] > cap + 1e-6:
            wrong.append(f"{at} {sample['limit_watts']:.1f} W are planned under {cap:.1f} W")
        drawn = mean_watts(samples, index)
        if age > MEET_SECONDS + MEAN_SECONDS and drawn > sample["hard_watts"] * (1 + TOLERANCE):
            wrong.append(f"{at} {drawn:.1f} W are drawn under {cap:.1f} W")
    return wrong


def missing(samples: list) -> list:
    """What the samples would have to show for the check to mean something."""
    caps = [sample["hard_watts"] for sample in samples]
    times = [sample["time"] for sample in samples]
    lacks = []
    if not any(before > after for before, after in zip(caps, caps[1:])):
        lacks.append("no lower cap was set")
    if not any(len(nodes) > 1 for sample in samples for nodes in sample["running"].values()):
        lacks.append("no job ran on two nodes")
    if not any(len(sample["running"]) > 1 for sample in samples):
        lacks.append("no two jobs ran at once")
    if max(sample["limit_watts"] for sample in samples) < 0.6 * max(caps):
        lacks.append("the cap was never nearly used")
    if not any(sample["watts"] > 0 for sample in samples):
        lacks.append("nothing was drawn")
    if any(after - before > LONGEST_GAP_SECONDS for before, after in zip(times, times[1:])):
        lacks.append(f"for more than {LONGEST_GAP_SECONDS} s nothing was sampled")
    return lacks


def summary(samples: list) -> str:
    drawn = [(mean_watts(samples, index), sample["hard_watts"], sample["time"])
             for index, sample in enumerate(samples)]
    lowest = min(cap for _, cap, _ in drawn)
    met = min(time for _, cap, time in drawn if cap == lowest) + MEET_SECONDS + MEAN_SECONDS
    late = max((watts for watts, cap, time in drawn if cap == lowest and time > met), default=0)
    single = max((s["watts"] for s in samples
                  if s["hard_watts"] == lowest and s["time"] > met - MEAN_SECONDS), default=0)
    return (f"In {len(samples)} samples of {samples[-1]['time'] - samples[0]['time']:.0f} s the "
            f"planned watts kept to the cap. Drawn at most, over 10 s: "
            f"{max(drawn)[0]:.0f} W; from 10 s after the cap of {lowest:.0f} W on: {late:.0f} W "
            f"({single:.0f} W in a single sample)")


def main() -> None:
    with open(sys.argv[1]) as lines:
        samples = [json.loads(line) for line in lines if line.endswith("\n")]
    wrong = check(samples) + missing(samples) if samples else ["there are no samples"]
    print("\n".join(wrong) or summary(samples))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
