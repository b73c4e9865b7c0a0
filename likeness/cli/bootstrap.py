"""The first admin key, made in the database by the services' own code: a gateway that has no key lets nobody in."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

from likeness._errors import LikenessError
from likeness.cli.cluster import ClusterError

_MODULE = "services.gateway.access.bootstrap"
_INSTALL_ADVICE = 'Install the services with `pip install "likeness[server]"`, and run this where they are.'


def first_admin_key(tenant_id: str, name: str) -> dict[str, str]:
    """Id, tenant_id, scope and key_text of a new admin key.

    Raises:
        ClusterError: The services are not installed here, or the database cannot be used.
        LikenessError: LIKENESS_DATABASE_URL is missing, or tenant or name are not allowed.
    """
    if importlib.util.find_spec("services") is None:
        raise ClusterError("the services are not installed", _INSTALL_ADVICE)
    command = [sys.executable, "-m", _MODULE, "--tenant", tenant_id, "--name", name]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    last = run.stdout.strip().rpartition("\n")[2]
    try:
        answer: dict[str, str] = json.loads(last)
    except ValueError:
        raise ClusterError(f"the key was not created: {run.stderr.strip().rpartition(chr(10))[2]}") from None
    if run.returncode != 0:
        raise LikenessError(answer["message"], reason=answer["reason"], field=answer["field"])
    return answer
