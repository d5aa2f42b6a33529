#!/usr/bin/env bash
# Real policy converges in a scratch root, and every sentence printed on the way is checked: the demo fails when one of
# them is not true. Nothing outside target/ is written, and no kernel is asked to load anything.
# Usage: demo.sh [PROGRAM]: shows a program that is built already instead of a new release build.
set -euo pipefail
cd "$(dirname "$0")/.."

demo=${CARGO_TARGET_DIR:-target}/demo
root=$demo/root
policy=$root/etc/apparmor.d
document=examples/fleet.json

if [[ -t 1 && -z ${NO_COLOR:-} ]]; then bold=$'\e[1m' plain=$'\e[0m'; else bold='' plain=''; fi

explain() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }

fail() {
    printf '\nthe demo failed: %s\n' "$*" >&2
    exit 1
}

# expect_exit CODE COMMAND…: runs the command and fails when it ends with another exit code.
expect_exit() {
    local expected=$1 code=0
    shift
    printf '$ %s\n' "$*"
    "$@" || code=$?
    ((code == expected)) || fail "\`$*\` ended with exit code $code, not $expected"
}

# expect_report FILE FILTER CLAIM: fails when the jq filter does not hold for the report in FILE.
expect_report() {
    jq --exit-status "$2" "$1" >/dev/null || fail "the report does not say $3"
    printf 'checked: the report says %s\n' "$3"
}

# Every name, link, mode and byte below the policy directory, in one line.
fingerprint() {
    (cd "$policy" && find . -printf '%y %m %p %l\n' -type f -exec sha256sum {} + | LC_ALL=C sort) | sha256sum
}

explain "1. What the demo needs, installed where it is missing"
scripts/require-rust.sh
scripts/install-packages.sh apparmor apparmor-profiles jq
PATH=$PATH:/usr/sbin
command -v apparmor_parser >/dev/null || fail "apparmor_parser is not there although apparmor is installed"
apparmor_parser --version | head -n1

if (($#)); then
    explain "2. The program: $1"
    aa_converge=$1
    [[ -x $aa_converge ]] || fail "$aa_converge is no program"
else
    explain "2. A release build"
    cargo build --locked --release
    aa_converge=${CARGO_TARGET_DIR:-target}/release/aa-converge
fi

explain "3. A scratch root below $root with this distribution's own policy"
rm -rf "$demo"
mkdir -p "$root/etc" "$root/usr/share"
cp -a /etc/apparmor /etc/apparmor.d "$root/etc/"
chmod -R u+w "$root"
if [[ -d /usr/share/apparmor-features ]]; then
    cp -a /usr/share/apparmor-features "$root/usr/share/"
fi
printf '%s files of policy\n' "$(find "$policy" -type f | wc -l)"

apply=("$aa_converge" apply --root "$root" --report "$demo/report.json")

explain "4. What would $document change? --check says it and writes nothing"
before=$(fingerprint)
expect_exit 0 "${apply[@]}" --check --format text "$document"
[[ $(fingerprint) == "$before" ]] || fail "--check changed the policy directory"
echo "checked: not a byte below $policy changed"
expect_report "$demo/report.json" '.check and .changed' 'what would change, as planned'

explain "5. Apply it"
expect_exit 0 "${apply[@]}" --format text "$document"
expect_report "$demo/report.json" '.changed and (.failed | not)' '"changed": true'
echo "The report that a program reads:"
jq 'del(.profiles[1:], .files[1:], .diff)' "$demo/report.json"

explain "6. Apply it again: there is nothing left to do"
before=$(fingerprint)
expect_exit 0 "${apply[@]}" --format text "$document"
expect_report "$demo/report.json" '.changed == false and .failed == false' '"changed": false'
[[ $(fingerprint) == "$before" ]] || fail "the second run changed the policy directory"
echo "checked: not a byte below $policy changed"

explain "7. Break one profile: every other change of that document is held back too"
jq '(.profiles[] | select(.file == "usr.local.sbin.metrics-gateway") | .content) |= sub(" r,\n"; " r\n")
    | .profiles += [{file: "usr.local.bin.innocent",
                     content: "profile innocent /usr/local/bin/innocent {\n  /srv/** r,\n}\n"}]' \
    "$document" >"$demo/broken.json"
before=$(fingerprint)
expect_exit 4 "${apply[@]}" --format text "$demo/broken.json"
expect_report "$demo/report.json" '.failed and (.changed | not) and .error.code == "compile"' \
    'that a profile does not compile and nothing changed'
expect_report "$demo/report.json" \
    '[.profiles[] | select(.error != null)] | length == 1 and .[0].file == "usr.local.sbin.metrics-gateway"' \
    'which profile, and the parser says where:'
jq --raw-output '.profiles[] | select(.error != null) | "    \(.error.file):\(.error.line): \(.error.message)"' \
    "$demo/report.json"
[[ $(fingerprint) == "$before" ]] || fail "a refused document changed the policy directory"
echo "checked: not a byte below $policy changed, and usr.local.bin.innocent was not created"

explain "The demo held. The scratch root stays in $root; \`make clean\` removes it."
