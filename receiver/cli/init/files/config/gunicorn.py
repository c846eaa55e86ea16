"""How the web processes are served: `gunicorn --config config/gunicorn.py wsgi:app`.

The engine has what every installation needs. An option of your own goes below the last line, and wins.
"""

from pathlib import Path

from receiver.web.serving import Worker as Worker  # noqa: PLC0414 - for `from config.gunicorn import *`
from receiver.web.serving.configuration import configure

globals().update(configure(Path(__file__).resolve().parent.parent))
