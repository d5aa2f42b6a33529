#!/usr/bin/env bash
# puppet.sh PROGRAM: the matrix with a real puppet apply, for each form of examples/puppet/: the module's class with Hiera
# data, which declares its native type, and the plain exec.
set -euo pipefail
cd "$(dirname "$0")/../.."

program=$(realpath "$1")
tool=puppet
# shellcheck source=tests/integrations/matrix.sh
. tests/integrations/matrix.sh
PATH=$PATH:/usr/sbin:/sbin

for form in class exec; do
    scratch_root "$form"
done

# An agent of its own, which finds the module where users put it.
agent=$work/agent
rm -rf "$agent"
mkdir -p "$agent"/{etc,var,hiera,modules/site/files}
ln -s "$PWD/examples/puppet/aaconverge" "$agent/modules/aaconverge"
cat >"$agent/hiera.yaml" <<EOF
version: 5
defaults: {datadir: $agent/hiera, data_hash: yaml_data}
hierarchy: [{name: host, path: host.yaml}, {name: all, path: all.yaml}]
EOF
cat >"$agent/hiera/all.yaml" <<EOF
aaconverge::manage_package: false
aaconverge::command: $program
aaconverge::root: $work/class/root
EOF
# The example as it is, but for another root than / and this program.
{
    echo 'include aaconverge'
    sed "s|/etc/aa-converge|$agent/document|; s|'aa-converge apply|'$program apply --root $work/exec/root|" \
        examples/puppet/exec.pp
} >"$agent/site.pp"

# hiera_data FILE: a document as Hiera data of the class. JSON is YAML; Hiera replaces what stands in %{} in data, and this
# is how it lets one say a percent sign.
hiera_data() {
    jq 'with_entries(select(.key != "version") | .key = "aaconverge::" + .key)
        | walk(if type == "string" then gsub("%(?=\\{)"; "%{literal(\u0027%\u0027)}") else . end)' "$1"
}

run_tool() {
    local form resource noop=() code=0 failed=0
    [[ $1 == apply ]] || noop=(--noop)
    cp "$2" "$agent/modules/site/files/policy.json"
    if [[ $2 == */example.json ]]; then
        cp examples/puppet/hiera-data.yaml "$agent/hiera/host.yaml"
    else
        hiera_data "$2" >"$agent/hiera/host.yaml"
    fi
    rm -rf "$agent/var/state"
    # Facts of the machine are nothing to these manifests, and take long to find. Agents often run without a locale, and
    # texts beyond ASCII must be shown all the same.
    LC_ALL=C puppet apply --show_diff --detailed-exitcodes --facts_terminus=memory --color=false --confdir="$agent/etc" --vardir="$agent/var" \
        --modulepath="$agent/modules" --hiera_config="$agent/hiera.yaml" "${noop[@]}" "$agent/site.pp" \
        >"$agent/log" 2>&1 || code=$?
    # The report is YAML with Ruby's types, which are of no use here.
    ruby -ryaml -rjson -e 'puts JSON.generate(YAML.safe_load(ARGF.read.gsub(/!ruby\/\S+/, ""), aliases: true,
        permitted_classes: [Symbol, Time]))' "$agent/var/state/last_run_report.yaml" >"$agent/report.json" ||
        fail "$tool left no report: $(<"$agent/log")"
    for form in "${forms[@]}"; do
        case $form in
        class) resource=Aaconverge_profiles ;;
        exec) resource=Exec ;;
        esac
        jq --raw-output --arg type "$resource" '
            [.resource_statuses[] | select(.resource_type == $type)] |
            if length != 1 then "\(length) resources"
            elif .[0].failed then "failed"
            elif any(.[0].events[]; .status == "noop") then "pending"
            elif .[0].changed then "changed"
            else "unchanged" end' "$agent/report.json" >"$work/$form/outcome"
        jq --raw-output --arg type "$resource" '.logs[] | select(.source | contains($type + "[")) | .message' \
            "$agent/report.json" >"$work/$form/said"
        ! grep --quiet failed "$work/$form/outcome" || failed=4
    done
    # The type names files so: 2 of 4 changed: create usr.bin.one (content); update usr.bin.two (adopted, content)
    { grep --only-matching --perl-regexp '[:;] (create|update|reload|remove|restore) \K\S+(?= \()' "$work/class/said" ||
        true; } >"$work/class/told"
    if [[ $1 == check ]]; then
        ((code == 0)) || fail "$tool --noop ended with exit status $code: $(<"$agent/log")"
    else
        (((code & 4) == failed)) || fail "$tool ended with exit status $code: $(<"$agent/log")"
    fi
}

expected() {
    # The trap that the example's first lines tell of.
    if [[ $1 == exec && $2 == 'check one changed' ]]; then
        echo unchanged
    else
        printf '%s\n' "$3"
    fi
}

example_document() {
    ruby -ryaml -rjson -e 'data = YAML.safe_load(ARGF.read).transform_keys { |key| key.delete_prefix("aaconverge::") }
        puts JSON.generate(data.merge("version" => 1))' examples/puppet/hiera-data.yaml
}

matrix
# A class that is included before there is data for it.
echo '{"version": 1, "owner": "puppet"}' >"$work/nothing.json"
step 'without an entry' apply "$work/nothing.json" unchanged
finish
