"""The answer as a document that fits a JSON Schema. It takes a language model."""

from signalbox import Signalbox

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "mean": {"type": ["number", "null"]}},
    "required": ["city", "mean"],
    "additionalProperties": False,
}

with Signalbox() as client:
    run = client.run("How warm was it in Oslo on average?", output_schema=SCHEMA)
    assert run.result, run.status
    if run.result.structured is None:  # the answer in words is there all the same
        print(run.output, run.degraded)
    else:
        print(run.result.structured["city"], run.result.structured["mean"])
