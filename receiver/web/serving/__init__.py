"""How a web process serves its connections: gunicorn's gevent worker with limits on what clients may take.

Loaded by gunicorn's parent process, before gevent patches anything: nothing here makes a lock or a thread when loaded.
"""

from receiver.web.serving.connections import Limits
from receiver.web.serving.options import NO_DAEMON, refusal, refused_options
from receiver.web.serving.worker import Worker

__all__ = ["NO_DAEMON", "Limits", "Worker", "refusal", "refused_options"]
