"""What this installation changes: `gunicorn.py`, `box_webhooks.toml`. Settings are in `.env` or the environment."""

from pathlib import Path

from receiver.environment import load, misspelt

__all__ = ["ENV_FILE", "ROOT", "load", "misspelt"]

ROOT = Path(__file__).resolve().parent.parent
ENV_FILE = ROOT / ".env"
