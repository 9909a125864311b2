#!/bin/sh
# Turns a bare Debian into the default image: the tools of a backend engineer, and Debian's own packages of the usual
# backend stack, so that a service can be built and tested without a network. Runs as root in `docker build` or a chroot.
set -eu

packages='
  bash ca-certificates curl file git jq less openssh-client patch procps ripgrep unzip xz-utils
  build-essential pkg-config
  nodejs npm
  python3 python3-dev python3-pip python3-venv python-is-python3 alembic uvicorn
  python3-aiosqlite python3-alembic python3-fastapi python3-flask python3-httpx python3-jwt python3-multipart
  python3-psycopg2 python3-pytest python3-pytest-asyncio python3-redis python3-sqlalchemy python3-uvicorn python3-yaml
  postgresql-client redis-tools sqlite3
'

# A disposable place needs neither manuals nor a sync after each file.
printf 'path-exclude=/usr/share/%s/*\n' doc man info locale > /etc/dpkg/dpkg.cfg.d/dockwright
echo 'path-include=/usr/share/doc/*/copyright' >> /etc/dpkg/dpkg.cfg.d/dockwright
echo force-unsafe-io >> /etc/dpkg/dpkg.cfg.d/dockwright

export DEBIAN_FRONTEND=noninteractive
apt-get update -q
# shellcheck disable=SC2086 # a list
apt-get install -y -q --no-install-recommends $packages
apt-get clean
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /usr/lib/python3*/EXTERNALLY-MANAGED

useradd --uid 1000 --create-home --home-dir /home/agent --shell /bin/bash agent
install --directory --owner=agent --group=agent /workspace

python3 -c 'import fastapi.testclient, flask, sqlalchemy, alembic, psycopg2, redis, yaml, jwt, uvicorn, pytest'
node --version
