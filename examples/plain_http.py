"""The same without a library of ours: any HTTP client does."""

import os

import httpx

url = os.environ.get("SIGNALBOX_URL", "http://127.0.0.1:8000")
key = os.environ.get("SIGNALBOX_API_KEY")
headers = {"authorization": f"Bearer {key}"} if key else {}

with httpx.Client(base_url=url, headers=headers, timeout=70) as http:
    answer = http.post("/v1/runs?wait=60", json={"task": "What is 19% of 250?"})
    answer.raise_for_status()  # a run that fails is no success: 502, 504 or 500 by its cause
    run = answer.json()
    print(run["status"], run["result"]["output"])
    for event in http.get(f"/v1/runs/{run['id']}/events").json()["data"]:
        print(event["seq"], event["type"], event["agent"] or "")
