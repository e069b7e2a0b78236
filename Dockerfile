# The image of both shapes: one process with SQLite (`docker compose --profile one up`), or API processes
# and workers on Postgres (`--profile many`).
FROM python:3.11.14-slim-bookworm

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore

WORKDIR /app

# The packages change rarely and take long: they come before the code, in a layer of their own.
COPY requirements.txt ./
RUN pip install --require-hashes -r requirements.txt

# Only what the service is made of; tests, tools of the trade and local data stay outside.
COPY pyproject.toml requirements.in LICENSE api.py ./
COPY agents agents
COPY domain domain
COPY graph graph
COPY monitoring monitoring
COPY service service
COPY tools tools
# Offline: the build backend is pinned in requirements.txt like everything else.
RUN pip install --no-deps --no-build-isolation --editable .

# An account without rights or shell. A model's code runs under it too, and can read what it can read:
# SIGNALBOX_ENV=production switches that code off.
RUN useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin signalbox \
    && install --directory --owner=signalbox --group=signalbox --mode=0750 /data
USER signalbox
VOLUME /data

ENV SIGNALBOX_HOST=0.0.0.0 \
    SIGNALBOX_PORT=8000 \
    SIGNALBOX_DATA_DIR=/data \
    SIGNALBOX_DATABASE_URL=sqlite:////data/signalbox.db
EXPOSE 8000

# Any answer but 2xx raises, and the process then exits with 1. The image has no curl.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ['SIGNALBOX_PORT'] + '/health/ready', timeout=4)"]

# Without a shell between them, SIGTERM reaches the server; its runs go on at the next start, or in another worker.
CMD ["signalbox", "serve"]
