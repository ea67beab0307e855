"""Checks that every #include follows the arrows of docs/ARCHITECTURE.md."""

import pathlib
import re
import sys

ARROWS = {
    "common": [],
    "formats": ["common"],
    "energy": ["common"],
    "parallel": ["common"],
    "trainer": ["parallel", "energy", "formats", "common"],
    "compression": ["trainer", "parallel", "energy", "formats", "common"],
    "scheduler": ["energy", "common"],
}
# Headers that stay inside .cpp files, so that no other file pays for them.
CPP_ONLY = re.compile(r"<(mpi|nccl|nvml|sqlite3|torch/torch|ATen/ATen)\.h>|<(grpcpp|openssl)/"
                      r"|\.grpc\.pb\.h$")
INCLUDE = re.compile(r'^#include\s+(?:"([^"]+)"|(<[^>]+>))', re.MULTILINE)


def violations(path: pathlib.Path):
    folder = path.parts[0]
    for own, system in INCLUDE.findall(path.read_text()):
        target = own.split("/")[0]
        if own and target in ARROWS | {"launch": []} and target not in [folder, *ARROWS[folder]]:
            yield f"{path}: includes {own}, but {folder} may only use {ARROWS[folder]}"
        if path.suffix == ".h" and CPP_ONLY.search(system or own):
            yield f"{path}: {system or own} belongs into .cpp files"


def main() -> None:
    found = [v for folder in ARROWS
             for path in sorted(pathlib.Path(folder).rglob("*"))
             if path.suffix in (".h", ".cpp")
             for v in violations(path)]
    print("\n".join(found))
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
