"""A real S3 server in this process, for tests that share an object store; its state is the process's, so it begins empty."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import fsspec
import httpx
import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server


def s3() -> Any:
    """Return the WSGI application that speaks S3."""
    return DomainDispatcherApplication(create_backend_app)


@contextmanager
def serving(application: Callable[[dict[str, Any], Any], Any], monkeypatch: pytest.MonkeyPatch, bucket: str) -> Iterator[None]:
    """Serve S3, or what stands in front of it, with one empty bucket; the environment has its address and keys."""
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=MotoRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    for name, value in {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": address,
    }.items():
        monkeypatch.setenv(name, value)
    fsspec.filesystem("s3").clear_instance_cache()
    httpx.post(f"{address}/moto-api/reset").raise_for_status()
    boto3.client("s3").create_bucket(Bucket=bucket)
    try:
        yield
    finally:
        server.shutdown()
