"""`python -m services.doctor.manifests FOLDER`: one JSON line a finding."""

from __future__ import annotations

import sys
from pathlib import Path

from services.doctor.manifests import examine_folder

for finding in examine_folder(Path(sys.argv[1])):
    print(finding.line(), flush=True)
