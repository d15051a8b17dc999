"""Make the accounts of the BI kit, inside Superset's own environment: `admin`, and `reader`, who sees all of the mart and changes nothing.

Passwords are read from files of AFTERCAST_BI_HOME that only the owner may read.
"""

import os
from pathlib import Path

from superset.app import create_app

HOME = Path(os.environ["AFTERCAST_BI_HOME"])
READS = (
    "can_read",
    "can_explore",
    "can_explore_json",
    "can_dashboard",
    "can_csv",
    "can_external_metadata",
    "can_get",
    "can_list",
    "menu_access",
)

with create_app().app_context():
    from superset import security_manager as manager

    role = manager.add_role("Mart reader")
    gamma = manager.find_role("Gamma")
    for permission in gamma.permissions:
        if permission.permission.name in READS and permission not in role.permissions:
            manager.add_permission_role(role, permission)
    manager.add_permission_role(role, manager.add_permission_view_menu("all_datasource_access", "all_datasource_access"))
    for name, wanted in (("admin", manager.find_role("Admin")), ("reader", role)):
        if manager.find_user(username=name) is None:
            password = (HOME / f"{name}_password").read_text(encoding="utf-8").strip()
            manager.add_user(name, name.capitalize(), "Aftercast", f"{name}@localhost.localdomain", wanted, password=password)
