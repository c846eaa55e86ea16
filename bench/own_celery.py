"""Celery of an installation with one handler that does nothing: `celery -A bench.own_celery worker`."""

import os

from bench.handlers import nothing
from config import load
from receiver import service
from receiver.app import create_app_without_web
from receiver.jobs.celery_tasks import Runner, make_celery, serve
from receiver.jobs.routing import Router

flask_app = create_app_without_web(load(os.environ))
engine, lease = service.of(flask_app).engine, flask_app.config["LEASE"]
router = Router()
router.on("*")(nothing)
app = make_celery(flask_app.config["CELERY_BROKER_URL"])
serve(app, lambda: Runner(engine, router, lease=lease))
