"""The page inside Airflow's UI: incidents, one incident, journeys, data health, as HTML made on the server.

It reads the published mart and nothing else, opens it anew for every request (so a newly published mart shows at once), and writes
nothing. It knows no Airflow: `plugins/aftercast_ui.py` mounts it there and hands over who may read. A mart that is not published, or that
an older version published, leaves a sentence where its rows would stand.
"""

from __future__ import annotations

from aftercast.page.serving import Beside, application

__all__ = ["Beside", "application"]
