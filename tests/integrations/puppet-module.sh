#!/usr/bin/env bash
# What can be said of examples/puppet/ without a host: lints, syntax, and the specs of the class, the type and the provider.
set -euo pipefail
cd "$(dirname "$0")/../../examples/puppet"

metadata-json-lint --no-strict-license aaconverge/metadata.json
puppet-lint --fail-on-warnings aaconverge exec.pp
puppet parser validate aaconverge/manifests aaconverge/types exec.pp
cd aaconverge
rspec
