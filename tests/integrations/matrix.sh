# shellcheck shell=bash
# What every configuration management tool is to do with aa-converge, as one matrix: check mode, create, repeat, drift,
# one of several changed, a broken profile twice, remove, hard content, what the tool's example says, and uninstall.
#
# A test of a tool sources this file, and calls `matrix` and at last `finish` after it has
# - called `scratch_root FORM` for every form in which the tool calls aa-converge; $work/FORM/root is that form's host;
# - defined `run_tool MODE DOCUMENT`: runs the tool once, with MODE `check` or `apply`, and writes for each form
#     $work/FORM/outcome  one of the words pending, changed, unchanged and failed,
#     $work/FORM/said     what people read of it,
#     $work/FORM/told     the policy files that it names as changed, one a line; no such file where it names none;
# - defined `example_document`: prints the document of the tool's example as JSON.
# It may define `expected FORM STEP OUTCOME`, which prints another outcome where a form cannot do better.

work=${CARGO_TARGET_DIR:-$PWD/target}/integrations/${tool:?the sourcing script names the tool}
forms=()
checks=0

fail() {
    printf 'FAILED: %s\n' "$*" >&2
    echo "test result: FAILED. $checks passed; 1 failed;"
    exit 1
}

# scratch_root FORM: a host for FORM with this distribution's own policy. No kernel is asked to load anything.
scratch_root() {
    local root=$work/$1/root
    forms+=("$1")
    rm -rf "${work:?}/$1"
    mkdir -p "$root/etc" "$root/usr/share"
    cp -a /etc/apparmor /etc/apparmor.d "$root/etc/"
    chmod -R u+w "$root"
    [[ ! -d /usr/share/apparmor-features ]] || cp -a /usr/share/apparmor-features "$root/usr/share/"
}

# policy ROOT: every name below the policy directory with its type, mode, digest or target, one a line.
policy() {
    (
        cd "$1/etc/apparmor.d" || exit
        find . -printf '%P %y %m %l\n'
        find . -type f -exec sha256sum {} + | sed -E 's|^([0-9a-f]+)  \./(.*)|\2 \1|'
    ) | LC_ALL=C sort
}

# everything MODE ROOT: every name below ROOT with its type, mode, time of change and link, so that nothing can be written
# unseen. A run without --check may take its lock, and temporary files may have come and gone in directories.
everything() {
    local line='%P %y %m %s %C@ %l\n'
    if [[ $1 == check ]]; then
        find "$2" -printf "$line"
    else
        find "$2" -type d -printf '%P %y %m\n' -o ! -path "$2/run/aa-converge/lock" -printf "$line"
    fi | LC_ALL=C sort
}

# differing BEFORE AFTER: the names on lines that stand in one of the files alone.
differing() {
    { LC_ALL=C comm -3 "$1" "$2" || true; } | sed 's/^\t//' | cut -d' ' -f1 | LC_ALL=C sort -u
}

expected() { printf '%s\n' "$3"; }

# step NAME MODE DOCUMENT OUTCOME [FILE…]: one run of the tool. Every form must come to OUTCOME, and name just the FILEs;
# on disk just they may have changed after `changed`, and nothing at all after any other outcome.
step() {
    local name=$1 mode=$2 document=$3 outcome=$4 form wanted files on_disk
    shift 4
    files=$( (($# == 0)) || printf '%s\n' "$@" | LC_ALL=C sort)
    for form in "${forms[@]}"; do
        rm -f "$work/$form"/{outcome,said,told}
        policy "$work/$form/root" >"$work/$form/policy.before"
        everything "$mode" "$work/$form/root" >"$work/$form/everything.before"
    done
    run_tool "$mode" "$document"
    for form in "${forms[@]}"; do
        wanted=$(expected "$form" "$name" "$outcome")
        [[ $(<"$work/$form/outcome") == "$wanted" ]] ||
            fail "$tool, $form, $name: $(<"$work/$form/outcome") in place of $wanted: $(<"$work/$form/said")"
        policy "$work/$form/root" >"$work/$form/policy.after"
        on_disk=$(differing "$work/$form/policy."{before,after})
        if [[ $outcome == changed ]]; then
            [[ $on_disk == "$files" ]] || fail "$tool, $form, $name changed ${on_disk:-nothing} in place of $files"
            holds "$work/$form/root" "$document" || fail "$tool, $form, $name did not write what the document says"
        else
            everything "$mode" "$work/$form/root" >"$work/$form/everything.after"
            cmp -s "$work/$form/everything."{before,after} || fail "$tool, $form, $name wrote something:" \
                "$(diff "$work/$form/everything."{before,after})"
        fi
        if [[ -e $work/$form/told && $wanted == "$outcome" ]]; then
            [[ $(LC_ALL=C sort "$work/$form/told") == "$files" ]] ||
                fail "$tool, $form, $name named $(<"$work/$form/told") in place of $files: $(<"$work/$form/said")"
        fi
        checks=$((checks + 1))
        printf 'ok: %s, %s, %s: %s\n' "$tool" "$form" "$name" "$wanted"
    done
}

# holds ROOT DOCUMENT: whether every text that the document brings stands below ROOT, byte for byte.
holds() {
    local name text
    while IFS=$'\t' read -r name text; do
        base64 --decode <<<"$text" | cmp - "$1/etc/apparmor.d/$name" || return 1
    done < <(jq --raw-output '(.files[]?, .profiles[]?) | select(.content)
        | [.path // .file, (.content | @base64)] | @tsv' "$2")
}

# says FORM TEXT: fails unless the last step of FORM said TEXT.
says() {
    grep --quiet --fixed-strings -- "$2" "$work/$1/said" || fail "$tool, $1 does not say \`$2\`: $(<"$work/$1/said")"
    checks=$((checks + 1))
}

documents() {
    jq --null-input --sort-keys --rawfile hard tests/integrations/hard-content '
        def profile($name; $rules): {
            file: "usr.local.bin.\($name)",
            content: "abi <abi/3.0>,\n\nprofile \($name) /usr/local/bin/\($name) {\n\($rules)}\n"
        };
        def document($files; $profiles): {
            version: 1, owner: "integration", prune: true, files: $files, profiles: $profiles
        };
        [{path: "local/usr.sbin.traceroute", content: "/etc/traceroute/gateways r,\n"}] as $files |
        {file: "usr.sbin.traceroute", mode: "enforce"} as $mode |
        profile("alpha"; "  /srv/alpha/** r,\n") as $alpha |
        profile("beta"; "  /srv/beta/** r,\n") as $beta |
        {
            first: document($files; [$alpha, $beta, $mode]),
            second: document($files; [profile("alpha"; "  /srv/alpha/** rw,\n"), $beta, $mode]),
            broken: document($files;
                [$alpha, profile("beta"; "  /srv/one r\n  /srv/two r,\n"), profile("gamma"; ""), $mode]),
            fewer: document($files; [$alpha, $mode]),
            hard: document($files; [$alpha, profile("hard"; $hard), $mode]),
            empty: {version: 1, owner: "integration", prune: true, allow_empty: true}
        }' >"$work/documents.json"
    local name
    for name in $(jq --raw-output 'keys[]' "$work/documents.json"); do
        jq ".$name" "$work/documents.json" >"$work/$name.json"
    done
    example_document >"$work/example.json"
    jq '{version, owner, prune: true, allow_empty: true}' "$work/example.json" >"$work/example-empty.json"
}

matrix() {
    local form traceroute=(local/usr.sbin.traceroute usr.sbin.traceroute) example
    documents
    step 'check before the first run' check "$work/first.json" pending "${traceroute[@]}" usr.local.bin.{alpha,beta}
    step create apply "$work/first.json" changed "${traceroute[@]}" usr.local.bin.{alpha,beta}
    step repeat apply "$work/first.json" unchanged
    step 'check in sync' check "$work/first.json" unchanged

    for form in "${forms[@]}"; do
        echo '# by hand' >>"$work/$form/root/etc/apparmor.d/usr.local.bin.beta"
    done
    step 'check drift' check "$work/first.json" pending usr.local.bin.beta
    step 'repair drift' apply "$work/first.json" changed usr.local.bin.beta

    step 'check one changed' check "$work/second.json" pending usr.local.bin.alpha
    step 'one changed' apply "$work/second.json" changed usr.local.bin.alpha

    # Copying files and then loading them is green in the second run, with the broken file installed.
    step 'broken profile' apply "$work/broken.json" failed
    for form in "${forms[@]}"; do
        says "$form" '/etc/apparmor.d/usr.local.bin.beta:5: '
    done
    step 'broken profile again' apply "$work/broken.json" failed
    step 'after the broken profile' apply "$work/second.json" unchanged

    step remove apply "$work/fewer.json" changed usr.local.bin.{alpha,beta}
    step 'hard content' apply "$work/hard.json" changed usr.local.bin.hard
    step 'hard content again' apply "$work/hard.json" unchanged
    step uninstall apply "$work/empty.json" changed "${traceroute[@]}" usr.local.bin.{alpha,hard}

    mapfile -t example < <(jq --raw-output '(.files[]?, .profiles[]?) | .path // .file' "$work/example.json")
    step 'the example' apply "$work/example.json" changed "${example[@]}"
    step 'the example uninstalled' apply "$work/example-empty.json" changed "${example[@]}"
    for form in "${forms[@]}"; do
        diff --recursive --no-dereference /etc/apparmor.d "$work/$form/root/etc/apparmor.d" ||
            fail "$tool, $form left something behind"
    done
}

# What scripts/test.sh counts.
finish() { echo "test result: ok. $checks passed; 0 failed;"; }
