#!/usr/bin/env bash
# Makes sure that there is a Chromium for the tests of the studio, if that is possible without asking anyone.
# Never fails: without it those tests are skipped.
set -u
package=chromium

present() {
    command -v chromium >/dev/null || command -v chromium-browser >/dev/null
}

present && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    echo "Installing a browser for the tests ($package)"
    { apt-get install -y -qq "$package" || { apt-get update -qq && apt-get install -y -qq "$package"; }; } \
        </dev/null >/dev/null 2>&1
    present && exit 0
fi
echo "Chromium is missing (Debian package $package): the tests of the studio in a browser are skipped."
