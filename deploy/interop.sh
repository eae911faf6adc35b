#!/bin/sh
# Install the published clients that the interop tests drive, each in an environment of its own under .venv-clients/,
# from lock files that pin every file by its hash. Needs Node.js with npm (deploy/node.sh).
set -eu
lock=deploy/interop
clients=.venv-clients

deploy/node.sh
mkdir -p "$clients/node"
deploy/install.sh "$clients/crewai" "$lock/crewai.lock"
cp "$lock/package.json" "$lock/package-lock.json" "$clients/node/"
(cd "$clients/node" && npm ci --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error)
