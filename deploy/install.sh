#!/bin/sh
# Make VENV hold exactly what LOCK pins by hash: deploy/install.sh VENV LOCK
# uv does it in a few seconds; where uv cannot run, pip does the same more slowly. Both live in .venv.
set -eu
venv=$1
lock=$2
python=${PYTHON:-python3}

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "AgentValet needs Python 3.11 or later as \`$python\`: install it, or name another: make PYTHON=python3.12 …" >&2
    exit 1
fi
if [ ! -x .venv/bin/pip ]; then
    echo "  a virtual environment in .venv"
    "$python" -m venv --clear .venv || {
        echo "\`$python -m venv\` does not work: on Debian and Ubuntu, apt-get install python3-venv." >&2
        exit 1
    }
fi
[ -x "$venv/bin/python" ] || "$python" -m venv --without-pip "$venv"
pip="env PIP_DISABLE_PIP_VERSION_CHECK=1 .venv/bin/python -m pip --quiet"
if [ ! -x .venv/bin/uv ]; then
    echo "  uv, which installs the rest"
    $pip install --require-hashes --requirement deploy/uv.lock || echo "uv cannot be installed: using pip." >&2
fi
echo "  the packages of $lock"
.venv/bin/uv pip sync --quiet --compile-bytecode --require-hashes --python "$venv/bin/python" "$lock" ||
    $pip --python "$venv/bin/python" install --no-deps --require-hashes --requirement "$lock" # a lock names everything
