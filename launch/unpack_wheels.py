"""Unpacks what C++ needs of some wheels: headers and shared libraries.

usage: unpack_wheels.py DESTINATION WHEEL...
"""

import pathlib
import shutil
import sys
import zipfile

HEADERS = (".h", ".hpp", ".cuh", ".inc")


def wanted(name: str) -> bool:
    return name.endswith(HEADERS) or ".so" in pathlib.PurePath(name).name


def main() -> None:
    destination = pathlib.Path(sys.argv[1])
    shutil.rmtree(destination, ignore_errors=True)
    for wheel in sys.argv[2:]:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(destination, [n for n in archive.namelist() if wanted(n)])


if __name__ == "__main__":
    main()
