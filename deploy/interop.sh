#!/bin/sh
# Install the published clients that the interop tests drive, each in an environment of its own under .venv-clients/,
# from lock files that pin every file by its hash. Needs Node.js 18 or later with npm; as root on Debian it fetches them.
set -eu
lock=deploy/interop
clients=.venv-clients

has_node() {
    command -v npm >/dev/null && node -e 'process.exit(parseInt(process.versions.node) < 18 ? 1 : 0)' 2>/dev/null
}

if ! has_node && command -v apt-get >/dev/null; then
    if [ "$(id -u)" = 0 ]; then
        as_root=
    elif sudo -n true 2>/dev/null; then
        as_root="sudo -n"
    else
        as_root=none
    fi
    if [ "$as_root" != none ]; then
        echo "Installing Node.js for the interop tests …"
        $as_root apt-get update -q >/dev/null 2>&1 || true
        $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y nodejs npm >/dev/null 2>&1 || true
    fi
fi
if ! has_node; then
    echo "The interop tests need Node.js 18 or later with npm: on Debian and Ubuntu, sudo apt-get install nodejs npm." >&2
    exit 1
fi

mkdir -p "$clients/node"
deploy/install.sh "$clients/crewai" "$lock/crewai.lock"
cp "$lock/package.json" "$lock/package-lock.json" "$clients/node/"
(cd "$clients/node" && npm ci --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error)
