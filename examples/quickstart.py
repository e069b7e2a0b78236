"""A task in, an answer out."""

from signalbox import Signalbox

with Signalbox() as client:  # SIGNALBOX_URL and SIGNALBOX_API_KEY say where and as whom
    run = client.run("What is 17% of 80?")
    print(run.output)
    print(f"{run.status}, by {run.engine}, {run.usage.calls} calls, ${run.usage.cost_usd}")
