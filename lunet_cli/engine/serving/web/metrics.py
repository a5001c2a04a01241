"""What a service counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from lunet_cli.engine.serving.jobs import Job
from lunet_cli.engine.serving.service import Service

# From a small crop to a CT of the whole body.
_SECONDS = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """Counters of one service, apart from those of others in the same process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "lunet_requests", "Requests by the status of their answer.", ["code"],
            registry=self._registry,
        )  # fmt: skip
        self._jobs = Counter(
            "lunet_jobs", "Jobs by model and how they ended.", ["model", "outcome"],
            registry=self._registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "lunet_job_seconds", "Seconds from the beginning of a job to its end.", ["model"],
            buckets=_SECONDS, registry=self._registry,
        )  # fmt: skip
        # Memory, processor time and open files of the process.
        ProcessCollector(registry=self._registry)

    def watch(self, service: Service) -> None:
        """Tell of the queue of a service as well."""
        queue = Gauge(
            "lunet_queue_length", "Jobs that wait or are worked on.", registry=self._registry
        )
        queue.set_function(lambda: service.queue_length)
        ready = Gauge("lunet_ready", "1 if the service takes jobs.", registry=self._registry)
        ready.set_function(lambda: float(service.state == "ready"))

    def answered(self, code: int) -> None:
        """Count an answer."""
        self._requests.labels(str(code)).inc()

    def ended(self, job: Job) -> None:
        """Count a job that has ended."""
        self._jobs.labels(job.model.name, job.state).inc()
        self._seconds.labels(job.model.name).observe(job.ended_at - job.started_at)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self._registry)
