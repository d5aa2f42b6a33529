# Everything there is to run. Each target installs what it needs with apt, and only what is missing.

.DEFAULT_GOAL := help
.PHONY: help demo test test-full test-vm package check bench bench-vm bench-ansible collection schemas clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## see real policy converge in a scratch root under target/demo (Debian 12+, Ubuntu 22.04+)
	@scripts/demo.sh

test: ## every test, with each stage's time (Debian 12)
	@scripts/test.sh

test-full: test ## all of test, and the package on a Debian 13 machine with systemd and cloud-init, in QEMU: some minutes without KVM
	@tests/machine/test.sh

test-vm: ## the tests on real kernels alone: Debian 12's 6.1 and Debian 13's 6.12, in a virtual machine
	@tests/vm/suite.sh bookworm
	@tests/vm/suite.sh trixie

check: ## the quick round: format, lints, unit tests
	@scripts/require-rust.sh
	cargo fmt --check
	cargo clippy --locked --all-targets -- --deny warnings
	cargo test --locked --lib --bins

bench: ## time no-op, one changed of N and everything, each beside its limit
	@scripts/bench.sh

bench-vm: ## the same on a real kernel in a virtual machine, beside apparmor_parser
	@tests/vm/bench.sh $(BENCH_ARGS)

package: ## a .deb, a static program and their checksums in target/package
	@scripts/package.sh

bench-ansible: ## time the Ansible module beside a loop of copies and an empty play, as ratios with their goals
	@scripts/require-rust.sh
	cargo build --locked --release
	@scripts/test-ansible.sh bench "$${CARGO_TARGET_DIR:-target}"/release/aa-converge $(BENCH_ARGS)

collection: ## build the Ansible collection's tarball into target/ansible/, and install and verify it there
	@scripts/test-ansible.sh tarball

schemas: ## write schemas/ anew from the types, and what the Ansible collection says of them
	@scripts/require-rust.sh
	cargo build --locked
	"$${CARGO_TARGET_DIR:-target}"/debug/aa-converge schema document > schemas/document.v1.json
	"$${CARGO_TARGET_DIR:-target}"/debug/aa-converge schema report > schemas/report.v1.json
	"$${CARGO_TARGET_DIR:-target}"/debug/aa-converge schema status > schemas/status.v1.json
	scripts/describe-collection.py

clean: ## remove target/
	cargo clean
