"""A file in, files out: what agents leave in the run's folder can be downloaded."""

import tempfile
from pathlib import Path

from signalbox import Signalbox

SALES = "month,sales\n2026-01,120\n2026-02,135\n2026-03,150\n"

with Signalbox() as client, tempfile.TemporaryDirectory() as folder:
    run = client.run(
        "Summarise sales.csv and chart the sales by month.", files={"sales.csv": SALES}
    )
    print(run.output)
    for artifact in client.artifacts.list(run.id):
        path = client.artifacts.download(run.id, artifact.name, to=Path(folder))
        print(f"{path.name}: {artifact.media_type}, {path.stat().st_size} bytes")
