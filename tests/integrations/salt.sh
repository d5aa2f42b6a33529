#!/usr/bin/env bash
# salt.sh RELEASE PROGRAM: the matrix with a real salt-call, masterless, for each form of examples/salt/: the state
# module with a document from the pillar, the state module with the document's parts, and cmd.run.
set -euo pipefail
cd "$(dirname "$0")/../.."

release=$1
program=$(realpath "$2")
tool=salt-$release
# shellcheck source=tests/integrations/matrix.sh
. tests/integrations/matrix.sh
PATH=$PATH:/usr/sbin:/sbin

for form in pillar parts command; do
    scratch_root "$form"
done

# A minion without a master, which finds the modules where users put them.
minion=$work/minion
rm -rf "$minion"
mkdir -p "$minion"/{conf,pillar,state-tree}
cp -r examples/salt/_modules examples/salt/_states "$minion/state-tree/"
cat >"$minion/conf/minion" <<EOF
id: integration
user: $(id -un)
file_client: local
file_roots: {base: [$minion/state-tree]}
pillar_roots: {base: [$minion/pillar]}
root_dir: $minion
log_file: $minion/log
# Names and hardware of the machine are nothing to these states, and take long to find.
enable_fqdns_grains: false
enable_gpu_grains: false
EOF
echo '{base: {"*": [apparmor]}}' >"$minion/pillar/top.sls"

# The examples as they are, but for other roots than / and this program.
program_at="$program apply --root $work"
sed "s|- document_pillar: apparmor|&\n    - {root: $work/pillar/root}\n    - {program: $program}|" examples/salt/policy.sls \
    >"$minion/state-tree/pillar.sls"
sed "s|aa-converge apply|$program_at/command/root|" examples/salt/policy-by-command.sls >"$minion/state-tree/command.sls"
echo '{include: [pillar, parts, command]}' >"$minion/state-tree/all.sls"

salt_call() {
    "$work/environment/bin/salt-call" --config-dir="$minion/conf" --local --log-level=error --retcode-passthrough \
        --out=json "$@" >"$minion/answer.json" 2>"$minion/stderr"
}

# A highstate does so by itself, `state.apply NAME` does not.
salt_call saltutil.sync_all || fail "$tool could not load the modules: $(cat "$minion/answer.json" "$minion/stderr")"

run_tool() {
    local form state code=0
    # JSON is YAML, and `#!yaml` keeps Jinja away.
    { echo '#!yaml' && jq '{apparmor: .}' "$2"; } >"$minion/pillar/apparmor.sls"
    {
        echo '#!yaml'
        jq --arg root "$work/parts/root" --arg program "$program" '
            {"integration-in-parts": {"aa_converge.applied":
                ([{$root, $program}, del(.version)] | map(to_entries[] | [.] | from_entries))}}' "$2"
    } >"$minion/state-tree/parts.sls"
    salt_call state.apply all test="$([[ $1 == check ]] && echo True || echo False)" || code=$?
    jq --exit-status '.local | type == "object"' "$minion/answer.json" >/dev/null ||
        fail "$tool could not apply states: $(cat "$minion/answer.json" "$minion/stderr")"
    for form in "${forms[@]}"; do
        state=$work/$form/state.json
        jq --arg form "$form" '.local[] | select(.__sls__ == $form)' "$minion/answer.json" >"$state"
        jq --raw-output '
            if .result == false then "failed"
            elif .result == null then "pending"
            elif .changes == {} then "unchanged"
            else "changed" end' "$state" >"$work/$form/outcome"
        jq --raw-output .comment "$state" >"$work/$form/said"
        # cmd.run adds what it knows of the process, and keeps `changed`.
        jq --raw-output '.changes | del(.changed, .pid, .retcode, .stdout, .stderr) | keys[]' "$state" \
            >"$work/$form/told"
    done
    if grep --quiet failed "$work"/*/outcome; then
        ((code != 0)) || fail "$tool ended with exit status 0 although a state failed"
    else
        ((code == 0)) || fail "$tool ended with exit status $code although no state failed: $(<"$minion/stderr")"
    fi
}

example_document() {
    "$work/environment/bin/python" -c 'import json, sys, yaml
json.dump(yaml.safe_load(sys.stdin)["apparmor"], sys.stdout)' <examples/salt/pillar/apparmor.sls
}

matrix

# answers FILTER ARGUMENT…: fails unless the jq filter holds for what salt-call says.
answers() {
    local filter=$1
    shift
    salt_call "$@" || true
    jq --exit-status "$filter" "$minion/answer.json" >/dev/null ||
        fail "$tool, $*: $filter does not hold of $(cat "$minion/answer.json" "$minion/stderr")"
    checks=$((checks + 1))
}

here=(root="$work/pillar/root" program="$program")
answers '.local.summary.files > 0 or (.local.profiles | length > 0)' aa_converge.status "${here[@]}"
answers '.local | .version == 1 and .owner == "web-fleet" and (.profiles | length > 0)' \
    aa_converge.export owner=web-fleet "${here[@]}"
answers '.local | .check and .changed and (.failed | not) and (.diff | length > 0)' \
    aa_converge.apply '{"owner": "x", "profiles": [{"file": "usr.sbin.traceroute", "mode": "enforce"}]}' \
    test=True diff=True "${here[@]}"
answers '.local[] | .result == false and (.comment | contains("install it before"))' \
    state.single aa_converge.applied name=x program=no-such-program
answers '.local[] | .result == null and .changes == {} and (.comment | contains("is not installed yet"))' \
    state.single aa_converge.applied name=x program=no-such-program test=True
answers '.local[] | .result == false and (.comment | contains("the pillar has no document at nowhere"))' \
    state.single aa_converge.applied name=x document_pillar=nowhere program="$program"
answers '.local[] | .result == false and (.comment | contains("/profiles/0"))' \
    state.single aa_converge.applied name=x profiles='[{"fiel": 1}]' "${here[@]}"

# What takes a kernel and services to happen: the report that there would be, from a program that prints it.
jq '.failed = true
    | .needs_restart = [{pid: 811, executable: "/usr/sbin/nginx", unit: "nginx.service", profile: "nginx", certain: true}]
    | .warnings = ["look here"] | .rollback.left = ["/etc/apparmor.d/left"]' \
    <("$program" apply --root "$work/pillar/root" --check --format json "$work/example-empty.json") >"$minion/report.json"
printf '#!/bin/sh\ncat >/dev/null\nprintf "%%s " "$@" >%q\ncat %q\n' "$minion/arguments" "$minion/report.json" \
    >"$minion/program"
chmod +x "$minion/program"
answers '.local[] | .result == false and .warnings == ["look here"] and (.comment |
    contains("restart nginx.service (process 811)") and contains("not undone: /etc/apparmor.d/left"))' \
    state.single aa_converge.applied name=x program="$minion/program" lock_timeout=0 kernel=skip
[[ $(<"$minion/arguments") == 'apply --format json --diff --kernel=skip --lock-timeout=0 ' ]] ||
    fail "$tool called it with $(<"$minion/arguments")"

finish
