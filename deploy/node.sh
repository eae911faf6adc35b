#!/bin/sh
# See that the interop tests have a Node.js. Exit 0: there is one. Exit 1: there is none, and it says how to get it.
set -u
found() {
    command -v npm >/dev/null && node -e 'process.exit(parseInt(process.versions.node) < 18 ? 1 : 0)' 2>/dev/null
}

found && exit 0
if command -v apt-get >/dev/null; then
    if [ "$(id -u)" = 0 ]; then
        as_root=
    elif sudo -n true 2>/dev/null; then
        as_root="sudo -n"
    else
        as_root=none
    fi
    if [ "$as_root" != none ]; then
        echo "Installing Node.js for the interop tests …"
        $as_root apt-get update -q >/dev/null 2>&1
        $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y nodejs npm >/dev/null 2>&1
    fi
fi
found && exit 0
echo "Node.js 18 or later with npm is missing, so the interop tests are left out. To run them: sudo apt-get install nodejs npm" >&2
exit 1
