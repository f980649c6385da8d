"""The documented example with real Celery tasks. It needs Celery, but no server.

The tasks go through Celery's in-memory broker to a worker in a thread of this process,
so the RSS is that of caller and worker together.
"""

from celery import Celery
from celery.contrib.testing.worker import start_worker

from memprobe import memdump, sample_mem

app = Celery("tasks", broker="memory://", backend="cache+memory://")
app.conf.broker_transport_options = {"polling_interval": 0.001}  # seconds; else 1
kept = []


@app.task
def add(x, y):
    kept.append(bytearray(20_000))  # never given back
    return x + y


with start_worker(app, pool="solo", perform_ping_check=False):
    try:
        for i in range(100):
            results = [add.delay(i, j) for j in range(10)]
            for result in results:
                result.get(timeout=60, interval=0.001)
            sample_mem()
    finally:
        memdump()
