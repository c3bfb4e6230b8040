#!/usr/bin/env bash
# Makes sure that a Debian package is there that some tests need, if that is possible without asking anyone.
# Never fails: without it those tests are skipped.
#
#   debian_package.sh PACKAGE TESTS COMMAND...     COMMAND succeeds if what TESTS need is there
set -u
package=$1 tests=$2
shift 2

present() {
    "$@" >/dev/null 2>&1
}

present "$@" && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    echo "Installing the Debian package $package"
    { apt-get install -y -qq "$package" || { apt-get update -qq && apt-get install -y -qq "$package"; }; } \
        </dev/null >/dev/null 2>&1
    present "$@" && exit 0
fi
echo "The Debian package $package is missing: $tests are skipped."
