"""Takes single files out of a wheel: each appears whole or not at all.

usage: extract_files.py WHEEL FOLDER MEMBER...
"""

import pathlib
import shutil
import sys
import zipfile


def main() -> None:
    folder = pathlib.Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(sys.argv[1]) as archive:
        for member in sys.argv[3:]:
            target = folder / pathlib.PurePosixPath(member).name
            aside = target.with_name(target.name + ".part")
            with archive.open(member) as source, aside.open("wb") as copy:
                shutil.copyfileobj(source, copy)
            aside.replace(target)


if __name__ == "__main__":
    main()
