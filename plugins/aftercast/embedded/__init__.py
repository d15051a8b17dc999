"""Airflow on embedded defaults: a real api-server and scheduler on SQLite, started, driven over REST and stopped again.

The same DAGs, tasks, assets and pools as in production; only the executor and the metadata database are the small ones.
"""
