#!/usr/bin/env bash
# fetch-parser.sh SUITE DIR: unpacks apparmor_parser of a Debian suite, with its libraries and policy, into DIR, and
# writes DIR/apparmor_parser, which runs it there. Nothing is installed (see debian-apt.sh). What was fetched once is
# kept.
set -euo pipefail
suite=$1
mkdir -p "$2"
dir=$(realpath "$2")
[[ ! -e $dir/complete ]] || exit 0

scripts=$(dirname "$(realpath "$0")")
rm -rf "$dir/apt" "$dir/debs" "$dir/root"
mkdir -p "$dir/debs" "$dir/root"
cd "$dir/debs"
"$scripts/debian-apt.sh" "$suite" "$(dpkg --print-architecture)" "$dir/apt" download apparmor libc6 libgcc-s1 libstdc++6
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
rm -rf "$dir/debs" "$dir/apt"
touch "$dir/complete"
