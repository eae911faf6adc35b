#!/bin/sh
# See that the browser tests have a Chromium. Exit 0: there is one. Exit 1: there is none, and it says how to get it.
set -u
found() {
    command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null
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
        echo "Installing Chromium for the browser tests …"
        $as_root apt-get update -q >/dev/null 2>&1
        $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y chromium >/dev/null 2>&1
    fi
fi
found && exit 0
echo "Chromium is missing, so the browser tests are left out. To run them: sudo apt-get install chromium" >&2
exit 1
