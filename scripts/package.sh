#!/usr/bin/env bash
# Makes what is released, in target/package: the Debian package, a static program for hosts that get it pushed, and
# their checksums. The package is built with this machine's C library, so build it on the oldest release that it is for.
set -euo pipefail
cd "$(dirname "$0")/.."

target=$(realpath --canonicalize-missing "${CARGO_TARGET_DIR:-target}")
cargo_deb_version=3.8.0
architecture=$(dpkg --print-architecture)
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
output=$target/package
deb=$output/aa-converge_${version}_${architecture}.deb
static=$output/aa-converge-${version}-${architecture}-linux

scripts/require-rust.sh
scripts/install-packages.sh dpkg-dev xz-utils

# Two calls, the tests and a person's, share what they build.
mkdir -p "$output"
exec {lock}>"$output/.lock"
flock "$lock"

cargo build --locked --release --bin aa-converge
# The files of a package are as old as the last change, so that it is the same whenever it is built.
epoch=$(git log -1 --format=%ct 2>/dev/null || stat --format=%Y Cargo.toml)

# A debug build of the packager is made in half the time, without liblzma, for which there is xz.
tools=$target/tools
if [[ $("$tools/bin/cargo-deb" --version 2>/dev/null) != "cargo-deb $cargo_deb_version" ]]; then
    cargo install --quiet --locked --force --debug --no-default-features --root "$tools" --target-dir "$tools/build" \
        --version "$cargo_deb_version" cargo-deb
    rm -rf "$tools/build"
fi

pages=$target/release/package
rm -rf "$pages"
mkdir -p "$pages"
cargo run --quiet --locked --example command_line_pages "$pages"
maintainer=$(sed -n 's/^maintainer = "\(.*\)"/\1/p' Cargo.toml)
printf 'aa-converge (%s) unstable; urgency=medium\n\n  * CHANGELOG.md has the changes.\n\n -- %s  %s\n' \
    "$version" "$maintainer" "$(date --utc --rfc-email --date "@$epoch")" >"$pages/changelog"

gzip --best --no-name "$pages"/changelog "$pages"/man/*

rm -f "$output"/aa-converge[_-]*
# Only here: build scripts of C libraries would take another date for a reason to compile anew.
SOURCE_DATE_EPOCH=$epoch "$tools/bin/cargo-deb" --no-build --locked --compress-system --output "$deb"

scripts/build-static.sh "$static"

cd "$output"
sha256sum "${deb##*/}" "${static##*/}" | tee SHA256SUMS
