#!/usr/bin/env bash
# fetch-parser.sh SUITE DIR: unpacks apparmor_parser of a Debian suite, with its libraries and policy, into DIR, and
# writes DIR/apparmor_parser, which runs it there. Nothing is installed: apt works on a state of its own in DIR, with
# the mirrors and keys that this machine's apt uses. What was fetched once is kept.
set -euo pipefail
suite=$1
mkdir -p "$2"
dir=$(realpath "$2")
[[ ! -e $dir/complete ]] || exit 0

# The mirror of Debian's main archive among the indexes that this machine's apt reads; security mirrors are another.
# shellcheck disable=SC2016 # apt expands these, not the shell.
mirror=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(ORIGIN)' 'Created-By: Packages' |
    awk '$3 == "Debian" && $2 !~ /-security/ && !found { print $1; found = 1 }')
if [[ -z $mirror ]]; then
    echo "this machine's apt reads no Debian archive, so the parser of $suite cannot be fetched" >&2
    exit 1
fi

state=$dir/apt
rm -rf "$state" "$dir/debs" "$dir/root"
mkdir -p "$state"/etc/{apt.conf.d,preferences.d,sources.list.d} "$state"/lists/partial "$state"/cache/archives/partial \
    "$dir/debs" "$dir/root"
: >"$state/status"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$state/etc/sources.list"
architecture=$(dpkg --print-architecture)
cat >"$state/apt.conf" <<EOF
Dir::Etc "$state/etc";
Dir::State "$state";
Dir::State::lists "$state/lists";
Dir::State::status "$state/status";
Dir::Cache "$state/cache";
APT::Architecture "$architecture";
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::Retries "5";
EOF
export APT_CONFIG=$state/apt.conf
apt-get update --quiet
cd "$dir/debs"
apt-get download --quiet apparmor libc6 libgcc-s1 libstdc++6
for package in *.deb; do
    dpkg-deb --extract "$package" "$dir/root"
done

# A newer program needs its own loader and libraries.
loader=$(find "$dir/root" -name 'ld-linux*.so.*' | head -n 1)
cat >"$dir/apparmor_parser" <<EOF
#!/bin/sh
exec "$loader" --library-path "$(dirname "$(find "$dir/root" -name libc.so.6 | head -n 1)")" \\
    "$(find "$dir/root" -name apparmor_parser -type f | head -n 1)" "\$@"
EOF
chmod +x "$dir/apparmor_parser"
"$dir/apparmor_parser" --version >/dev/null
rm -rf "$dir/debs" "$state"
touch "$dir/complete"
