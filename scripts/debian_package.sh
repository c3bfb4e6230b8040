#!/usr/bin/env bash
# Makes sure that the font of the storybook world is there, if that is possible without asking anyone.
# Never fails: only rendering new scenes needs the font, the shipped models do not.
set -u
package=fonts-noto-color-emoji

present() {
    test -e /usr/share/fonts/truetype/noto/NotoColorEmoji.ttf ||
        { command -v fc-list && fc-list | grep -qi 'noto.*color.*emoji'; } >/dev/null 2>&1
}

present && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    echo "Installing the emoji font ($package)"
    { apt-get install -y -qq "$package" || { apt-get update -qq && apt-get install -y -qq "$package"; }; } \
        </dev/null >/dev/null 2>&1
    present && exit 0
fi
echo "The emoji font is missing (Debian package $package): tests that render storybook scenes are skipped."
