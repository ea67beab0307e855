"""Checks samples.jsonl of the demo: in every sample the planned watts (the sum of the limits that
may be in force) are at most the cap, and from 10 s after a change of the cap on what is drawn is at
most 5 % above it. While a lower cap is being met, for at most 10 s, the cap before it counts."""

import json
import sys

MEET_SECONDS = 10
TOLERANCE = 0.05


def check(samples: list) -> list:
    """What is wrong, in words; nothing if all is well."""
    wrong = []
    changed, previous = float("-inf"), samples[0]["hard_watts"]
    for before, sample in zip([samples[0]] + samples, samples):
        if sample["hard_watts"] != before["hard_watts"]:
            changed, previous = sample["time"], before["hard_watts"]
        age = sample["time"] - changed
        cap = sample["hard_watts"] if age > MEET_SECONDS else max(previous, sample["hard_watts"])
        at = f"at {sample['time'] - samples[0]['time']:.1f} s"
        if sample["limit_watts"] > cap + 1e-6:
            wrong.append(f"{at} {sample['limit_watts']:.1f} W are planned under {cap:.1f} W")
        if age > MEET_SECONDS and sample["watts"] > sample["hard_watts"] * (1 + TOLERANCE):
            wrong.append(f"{at} {sample['watts']:.1f} W are drawn under {cap:.1f} W")
    return wrong


def missing(samples: list) -> list:
    """What the samples would have to show for the check to mean something."""
    caps = [sample["hard_watts"] for sample in samples]
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
    return lacks


def main() -> None:
    with open(sys.argv[1]) as lines:
        samples = [json.loads(line) for line in lines]
    wrong = check(samples) + missing(samples) if samples else ["there are no samples"]
    print("\n".join(wrong) or
          f"In {len(samples)} samples of {samples[-1]['time'] - samples[0]['time']:.0f} s the "
          f"planned watts kept to the cap; at most {max(s['watts'] for s in samples):.0f} W drawn")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
