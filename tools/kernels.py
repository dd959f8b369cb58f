"""How the tools start a notebook's kernel: so that it has nothing to warn about.

ipykernel from version 7.3 on says of every kernel that it runs "over TCP without encryption". The
front end decides that: jupyter_client encrypts what it exchanges with a kernel if it is told to.
"""

from __future__ import annotations

import zmq
from jupyter_client import KernelManager
from traitlets.config import Config


def encrypted() -> Config:
    """Settings for nbconvert and nbclient: encryption where kernel and jupyter_client know it."""
    known = KernelManager.class_traits().keys() >= {"transport_encryption"} and zmq.has("curve")
    return Config({"KernelManager": {"transport_encryption": "auto"}} if known else {})
