"""Fails unless tests of every label named ran (a skipped test did not): check_labels.py LABEL...

Compares ctest's lists by label with build/junit.xml of the last run.
"""

import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree


def names_of(label: str) -> set:
    listing = subprocess.run(["ctest", "--test-dir", "build", "-N", "-L", f"^{label}$"],
                             check=True, capture_output=True, text=True).stdout
    return set(re.findall(r"^\s*Test\s+#\d+: (.*?)\s*$", listing, re.MULTILINE))


def main() -> None:
    cases = ElementTree.parse("build/junit.xml").iter("testcase")
    ran = {case.get("name") for case in cases if case.get("status") == "run"}
    counts = {label: len(names_of(label) & ran) for label in sys.argv[1:]}
    print("ran " + ", ".join(f"{count} labelled {label}" for label, count in counts.items()))
    sys.exit(any(count == 0 for count in counts.values()))


if __name__ == "__main__":
    main()
