#!/bin/sh
# Puts NVRTC 12.4 (Debian trixie, non-free) into a cache folder and prints that folder; nothing is installed.
# The mirror is the one this machine's apt is set up with. Does nothing when the library is already there.
# Needs apt and an amd64 or arm64 Debian-like system; elsewhere set SALS_CUDA_LIBRARY_PATH to a folder with libnvrtc.so.12.
set -eu
folder=${SALS_NVRTC_FOLDER:-${XDG_CACHE_HOME:-$HOME/.cache}/sals/nvrtc-12.4}
if [ -e "$folder/libnvrtc.so.12" ] && ls "$folder"/libnvrtc-builtins.so.* >/dev/null 2>&1; then
    echo "$folder"
    exit 0
fi

mirror=$(grep -rhoE '(https?|file|copy)://?[^ ]+/debian/?( |$)' /etc/apt/sources.list /etc/apt/sources.list.d/ 2>/dev/null | head -n 1 | tr -d ' ')
keys=$(ls /usr/share/keyrings/debian-archive-keyring.* 2>/dev/null | head -n 1)
if [ -z "$mirror" ] || [ -z "$keys" ]; then
    echo "get-nvrtc: no Debian mirror or keyring is configured for apt here" >&2
    exit 1
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/root"
echo "deb [signed-by=$keys] $mirror trixie non-free" >"$work/sources.list"
apt() {
    apt-get -q -oDir::Etc::SourceList="$work/sources.list" -oDir::Etc::SourceParts=/dev/null \
        -oDir::State::Lists="$work/lists" -oDir::Cache="$work/cache" -oAPT::Sandbox::User="$(id -un)" "$@" >&2
}
apt update
(cd "$work" && apt download libnvrtc12 libnvrtc-builtins12.4)
for package in "$work"/*.deb; do
    dpkg -x "$package" "$work/root"
done

# the folder appears complete or not at all
staging="$folder.$$"
mkdir -p "$staging"
find "$work/root/usr/lib" \( -name 'libnvrtc.so.*' -o -name 'libnvrtc-builtins.so.*' \) -exec cp -P {} "$staging/" \;
rm -rf "$folder"
mv "$staging" "$folder"
echo "$folder"
