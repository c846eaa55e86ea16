"""`python -m config` writes the `.env` of a first run: `.env.example` with random keys, unless there is one."""

import os
import re
import secrets
import sys
from pathlib import Path

from config import ENV_FILE, ROOT

_EMPTY_KEY = re.compile(r"^([A-Z_]+)=$", re.MULTILINE)


def write_env_file(example: Path, target: Path) -> list[str]:
    """Write `target` for its owner's eyes only, and give the names of the keys; an existing one stays: no names.

    Every line of `example` that reads `NAME=` gets a random key.
    """
    template = example.read_text(encoding="utf-8")
    content = _EMPTY_KEY.sub(lambda line: f"{line[1]}={secrets.token_urlsafe()}", template)
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode=0o600)
    except FileExistsError:
        return []
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(content)
    return _EMPTY_KEY.findall(template)


if __name__ == "__main__":
    try:
        names = write_env_file(ROOT / ".env.example", ENV_FILE)
    except OSError as error:
        sys.exit(f"{error.filename} cannot be used ({error.strerror}): set the keys in the environment instead.")
    if names:
        print(f"Wrote .env with random keys: {', '.join(names)}.")
