"""The files of a report."""

from __future__ import annotations

import json
from pathlib import Path

from likeness import Client, SessionDetails, to_dict
from likeness.report.collecting import collect
from likeness.report.page import render


def write_report(client: Client, details: SessionDetails, folder: str | Path) -> Path:
    """Writes report.html, best.png and result.json into a folder, which is made if needed.

    best.png has the bytes that the generator wrote: its text chunk "likeness" says how to make the picture again.

    Returns:
        The path of report.html.
    """
    folder = Path(folder)
    data = collect(client, details)
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / "report.html"
    page.write_text(render(data), encoding="utf-8")
    if data.best_png is not None:
        (folder / "best.png").write_bytes(data.best_png)
    result = {"prompt": data.session.best.prompt if data.session.best else None} | to_dict(details)
    result |= {"profile": data.profile, "version": data.version}
    (folder / "result.json").write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return page
