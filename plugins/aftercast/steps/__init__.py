"""One function per Airflow task, one module per kind of DAG: read what the step needs, call the room that knows how, write what came back.

No step computes anything itself. Each replaces its whole output, so any step can be run again. Rooms are imported inside the functions,
because a task should pay only for what it uses.
"""
