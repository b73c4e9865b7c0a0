"""What the dashboards show. Each query's metric is one that the services export, which a test checks."""

from __future__ import annotations

from deploy.monitoring.boards.gateway import GATEWAY
from deploy.monitoring.boards.generator import GENERATOR
from deploy.monitoring.boards.loops import LOOPS
from deploy.monitoring.boards.overview import OVERVIEW
from deploy.monitoring.boards.scorer import SCORER

DASHBOARDS = (OVERVIEW, GATEWAY, GENERATOR, SCORER, LOOPS)
