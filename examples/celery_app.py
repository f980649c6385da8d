"""A Celery app whose workers say which task makes them grow. It needs a broker.

In this folder, with a Redis on this machine (apt install redis-server; pip install
celery redis):

    celery -A celery_app worker --concurrency 3
    python celery_app.py                           # in another terminal: runs tasks
    celery -A celery_app inspect memprobe

The environment variable BROKER names another broker, RECORDS a directory for the
recorder's files.
"""

import os

from celery import Celery

import memprobe.celery

app = Celery("celery_app", broker=os.environ.get("BROKER", "redis://127.0.0.1:6379/0"))
memprobe.celery.install(app, directory=os.environ.get("RECORDS"))
kept = []


@app.task(name="resize")
def resize(image):
    kept.append(bytearray(2_000_000))  # never given back


@app.task(name="add")
def add(x, y):
    return x + y


if __name__ == "__main__":
    for i in range(60):
        add.delay(i, i)
        resize.delay(i)
