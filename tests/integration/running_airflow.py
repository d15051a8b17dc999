"""An Airflow with an API server and a scheduler of its own, triggered by tests and stopped after them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from aftercast.embedded import driver
from aftercast.embedded.components import start, stopping
from aftercast.embedded.environment import admin_password, airflow_environment, free_port
from aftercast.settings import Settings


@contextmanager
def scheduling(place: Settings) -> Iterator[tuple[driver.Airflow, Mapping[str, str]]]:
    """Start the components over the home of `place`; nothing runs by the clock. Give the client and the components' environment."""
    port = free_port()
    environment = airflow_environment(place, port, scheduled=False)
    driver.prepare_metadata(environment, place)
    logs = place.airflow / "components"
    client = driver.Airflow(f"http://127.0.0.1:{port}", admin_password(place))
    with stopping([]) as components:
        components.append(start("api-server", ["api-server", "--host", "127.0.0.1", "--port", str(port)], environment, logs))
        client.wait_until_up(components[0].check)
        components.append(start("scheduler", ["scheduler", "--skip-serve-logs"], environment, logs))
        yield client, environment
    client.close()
