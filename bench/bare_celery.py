"""A bare Celery task that does nothing, set up as ours: what a job of Signalbox through Celery is held against."""

import os

import celery

app = celery.Celery("bare", broker=os.environ["CELERY_BROKER_URL"])
app.conf.update(task_acks_late=True, task_default_queue="bare", task_ignore_result=True, worker_prefetch_multiplier=1)


@app.task(name="bench.nothing")  # type: ignore[untyped-decorator]
def nothing(_job_id: int, _attempt: int) -> None:
    """Cost nothing."""
