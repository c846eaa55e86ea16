"""gunicorn's configuration in a folder without one: `gunicorn --config python:receiver.web.serving.here`."""

from receiver.runtime.folder import folder
from receiver.web.serving.configuration import configure

globals().update(configure(folder()))
