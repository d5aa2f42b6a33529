#!/usr/bin/env bash
# Rolls a document out to six hosts, which are roots of their own: canaries first; a canary that fails, wherever it does,
# stops it before any other host; so does a host that cannot be reached; and a whole rollout ends with everything
# converged.
set -eux -o pipefail

ansible-playbook prepare.yml "$@"
scratch=$(python -c 'import sys, yaml; print(yaml.safe_load(open("../../integration_config.yml"))["scratch"])')/fleet

# rollout NAME ARGUMENT…: leaves its output in NAME.
rollout() {
    local said=$scratch/$1
    shift
    ANSIBLE_FORCE_COLOR=0 ansible-playbook -i "$scratch/inventory.yml" aaconverge.apparmor.rollout \
        -e @../../integration_config.yml "$@" 2>&1 | tee "$said"
}

# untouched HOST…: fails when one of the hosts has anything that the document brings.
untouched() {
    for host in "$@"; do
        test ! -e "$scratch/$host/etc/apparmor.d/usr.local.bin.metrics"
        test ! -e "$scratch/$host/var/lib/aa-converge"
    done
}

# converged HOST…
converged() {
    for host in "$@"; do
        grep -q '^profile metrics' "$scratch/$host/etc/apparmor.d/usr.local.bin.metrics"
    done
}

: "A canary's variables are refused: nothing begins at all"
if rollout refused -e rollout_src="$PWD/files/fleet.json" -e refused=canary2; then exit 1; fi
untouched canary1 canary2 web1 web2 web3 web4
grep '^fatal: \[canary2\].*banana' "$scratch/refused"

: "A canary fails: nothing else begins, and the summary tells of every host"
mv "$scratch/canary2/etc/apparmor.d" "$scratch/canary2/etc/apparmor.away"
if rollout canary-failed -e rollout_src="$PWD/files/fleet.json"; then exit 1; fi
converged canary1
untouched web1 web2 web3 web4
grep '"2 of 6 hosts: 1 changed, 0 unchanged, 1 failed"' "$scratch/canary-failed"
grep '"canary1: changed: 1 of 1 changed: 1 created"' "$scratch/canary-failed"
grep '"canary2: failed: there is no policy directory' "$scratch/canary-failed"
grep '"web4: not begun"' "$scratch/canary-failed"
: "The same where --limit leaves one canary: it is a batch of its own"
if rollout canary-limited -e rollout_src="$PWD/files/fleet.json" --limit 'web*:canary2'; then exit 1; fi
untouched web1 web2 web3 web4
grep '"1 of 5 hosts: 0 changed, 0 unchanged, 1 failed"' "$scratch/canary-limited"
mv "$scratch/canary2/etc/apparmor.away" "$scratch/canary2/etc/apparmor.d"

: "A play of one's own tells of a host that was refused"
if ANSIBLE_FORCE_COLOR=0 ansible-playbook -i "$scratch/inventory.yml" own.yml \
    -e rollout_src="$PWD/files/fleet.json" -e refused=canary2 --check 2>&1 | tee "$scratch/own"; then exit 1; fi
grep '"2 of 2 hosts: 0 changed, 1 unchanged, 1 failed"' "$scratch/own"
grep '"canary2: failed"' "$scratch/own"

: "A canary is lost while its units are restarted: nothing else begins"
if rollout lost -e rollout_src="$PWD/files/fleet.json" -e rollout_binary="$scratch/telling" -e lost=canary2; then exit 1; fi
converged canary1 canary2
untouched web1 web2 web3 web4
grep '"2 of 6 hosts: 0 changed, 1 unchanged, 1 failed"' "$scratch/lost"
grep '"canary2: failed: did not come back: gone.service"' "$scratch/lost"

: "A host of a later batch cannot be reached: the batch after it does not begin"
if rollout unreachable -e rollout_src="$PWD/files/fleet.json" -e rollout_batches=2,1 -e unreachable=web2; then exit 1; fi
converged canary1 canary2 web1
untouched web2 web3 web4
grep '"4 of 6 hosts: 1 changed, 2 unchanged, 1 failed"' "$scratch/unreachable"
grep '"web2: failed: ' "$scratch/unreachable"

: "In check mode, everything is told and nothing is done"
rollout checked -e rollout_src="$PWD/files/fleet.json" --check
untouched web2 web3 web4
grep '"6 of 6 hosts: 3 changed, 3 unchanged, 0 failed"' "$scratch/checked"

: "All goes well: canaries, then 10 %, 30 % and the rest of the hosts; the document comes from a variable"
rollout green -e '{"rollout_document": {"version": 1, "owner": "fleet", "profiles": [{"file": "usr.local.bin.metrics", "content": "profile metrics /usr/local/bin/metrics {\n}\n", "mode": "complain"}]}}'
converged canary1 canary2 web1 web2 web3 web4
grep '"6 of 6 hosts: 6 changed, 0 unchanged, 0 failed"' "$scratch/green"
test "$(grep -c '^PLAY \[' "$scratch/green")" = 4

: "Again, for a part of the hosts, of which no canary is one: the first host is the canary"
rollout limited -e rollout_hosts='web*' -e rollout_canaries=nobody -e rollout_src="$PWD/files/fleet.json"
grep '"4 of 4 hosts: 4 changed, 0 unchanged, 0 failed"' "$scratch/limited"
sed -n '/^TASK .*Converge\]/,/^$/p' "$scratch/limited" | grep -m1 -A1 '^changed: ' | head -n1 | grep 'web1'
