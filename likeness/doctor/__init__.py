"""What is wrong with a deployment, in plain words, and what to do about it."""

from likeness.doctor.examination import examine
from likeness.doctor.findings import Finding, State
from likeness.doctor.host import examine_host, examine_manifests, is_this_host

__all__ = ["Finding", "State", "examine", "examine_host", "examine_manifests", "is_this_host"]
