"""ROS 2 for the tests: on this machine only, and on a domain that a robot nearby does not use."""

from __future__ import annotations

import os

from hypothesis import settings

os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
os.environ.setdefault("ROS_DOMAIN_ID", "87")

# No deadline: the first example compiles kernels, and a busy machine is no fault of the code.
settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")
