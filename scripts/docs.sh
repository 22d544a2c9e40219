#!/usr/bin/env bash
# Builds the documentation as a site: docs.sh <cache> <folder of the site>
#
# Sphinx is kept in a folder of the cache that is named after what docs/site/requirements.txt pins. A link or an anchor that leads
# nowhere, and a page that docs/site/conf.py does not name, fail the build.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly cache=$1 site=$2 pins=docs/site/requirements.txt

# What Sphinx asks for.
if ! python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  printf '%s; install it:\n    %s\n' "Python 3.11 or newer with venv is missing" "sudo apt-get install python3-venv" >&2
  exit 1
fi

environment=$cache/docs/$(sha256sum <"$pins" | cut -c1-16)
readonly environment
if [[ ! -x $environment/bin/sphinx-build ]]; then
  echo "docs: installing Sphinx (once per machine, half a minute)"
  mkdir -p "$cache/docs"
  # Made under its final name, which its programs hold; one that was cut off has no sphinx-build.
  rm -rf "$environment"
  python3 -m venv "$environment"
  "$environment/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r "$pins"
fi

# From nothing each time: a page that was renamed must not stay.
rm -rf "$site"
"$environment/bin/sphinx-build" --quiet --fail-on-warning --keep-going --fresh-env --jobs auto \
  --builder html --conf-dir docs/site --doctree-dir "$site.doctrees" . "$site"
echo '<!doctype html><title>Serin</title><meta http-equiv="refresh" content="0; url=docs/index.html">' >"$site/index.html"
echo "docs: $site/index.html"
