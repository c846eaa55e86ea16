"""Where gunicorn (`wsgi:app`), Celery (`wsgi.celery`) and `python wsgi.py` start: this folder is the installation."""

from pathlib import Path
from typing import Any

from receiver import startup
from receiver.runtime.folder import use_folder
from receiver.startup import build_without_web, main

__all__ = ["build_without_web", "main"]

use_folder(Path(__file__).parent)


def __getattr__(name: str) -> Any:
    return getattr(startup, name)  # `app` and `celery` are made when they are asked for


if __name__ == "__main__":
    main()
