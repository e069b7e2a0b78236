"""The package `openai`, and whatever is built on it, against Signalbox."""

import os

from openai import OpenAI

url = os.environ.get("SIGNALBOX_URL", "http://127.0.0.1:8000")
key = os.environ.get("SIGNALBOX_API_KEY", "any")  # without keys on the server anything is taken
client = OpenAI(base_url=f"{url}/openai/v1", api_key=key, max_retries=0)

pieces = client.chat.completions.create(
    model="signalbox", messages=[{"role": "user", "content": "What is 35% of 60?"}], stream=True
)
for piece in pieces:
    for choice in piece.choices:
        print(choice.delta.content or "", end="", flush=True)
print()
