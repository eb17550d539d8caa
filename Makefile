# One recipe per step of .ci/run. `bash .ci/setup` once on a fresh Debian 12 with rustup.
MUSL := x86_64-unknown-linux-musl

.PHONY: setup demo check fmt clippy test e2e deny doc musl musl-aarch64 fuzz bench bench-relay bench-compare bench-volume bench-verify plant-bugs guard guard-accept bench-many bench-stall bench-distance bench-static bench-sweep

setup: ## what building and testing need: Debian packages, the toolchain, the jars of Kafka
	bash .ci/setup

demo: ## two embedded clusters and a mirror in one process
	cargo run --release --locked -p kmirror -- demo

check: fmt clippy ## the cheap half of the gate

fmt:
	cargo fmt --all --check

clippy:
	cargo clippy --workspace --all-targets --locked -- -D warnings

test: ## every test, those against real Kafka included
	cargo test --workspace --locked

e2e: ## only those against real Kafka
	cargo test --locked -p kafka-lab -p protocol-client -p kmirror --test lab --test real_kafka --test e2e

deny: ## licences, banned crates, sources
	command -v cargo-deny >/dev/null || cargo install --locked cargo-deny@0.20.2
	cargo fetch --locked
	cargo deny --offline check licenses bans sources

doc:
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

musl: ## the static release binary, checked
	cargo build --release --locked -p kmirror --target $(MUSL)
	bash .ci/check-static target/$(MUSL)/release/kmirror

musl-aarch64: ## the same for aarch64, cross-compiled with zig from PyPI; built, not run
	bash .ci/build-aarch64

fuzz: ## a few seconds on every fuzz target
	bash .ci/fuzz-smoke 5

plant-bugs: ## bugs put into a copy of the engine, each of which the simulation must find; ten minutes
	bash .ci/plant-bugs

guard: ## instructions of fixed scenarios beside benches/instructions.txt; fails above +3 %
	cargo run -q --profile guard --locked -p instructions -- check

guard-accept: ## takes what the scenarios execute now for right
	cargo run -q --profile guard --locked -p instructions -- accept

bench: ## everything that docs/benchmarks.md reports, in one run: target/bench/report.md and plots; an hour, distance needs root
	cargo build --release --locked -p benches -p kmirror
	cargo build --release --locked -p benches --target $(MUSL)
	target/release/benches report

bench-relay: ## CPU per GiB beside a raw TCP relay, between null brokers; two minutes
	cargo run --release --locked -p benches -- relay

bench-compare: ## kmirror and MirrorMaker 2 in turn between two real Kafka clusters: a table and plots; twenty minutes
	cargo build --release --locked -p benches -p kmirror
	target/release/benches report --only compare --out target/compare

bench-many: ## 100 000 partitions between embedded brokers, idle and with a trickle; three minutes
	cargo build --release --locked -p benches -p kmirror
	target/release/benches many

bench-stall: ## the target stands still while large batches flow, between null brokers; a minute
	cargo build --release --locked -p benches
	target/release/benches stall

bench-distance: ## the source behind a line of 1 Gbit/s and up to 200 ms; needs root
	cargo build --release --locked -p benches -p kmirror
	target/release/benches distance

bench-sweep: ## cost by partitions, batch size, connections and codec, between null brokers
	cargo run --release --locked -p benches -- sweep

bench-static: ## the static musl build beside the glibc one, between null brokers; sizes
	cargo build --release --locked -p benches -p kmirror
	cargo build --release --locked -p benches -p kmirror --target $(MUSL)
	target/release/benches relay --other target/$(MUSL)/release/benches
	ls -l target/release/kmirror target/$(MUSL)/release/kmirror

bench-volume: ## the program between two real Kafka clusters
	cargo build --release --locked -p benches -p kmirror
	target/release/benches volume

bench-verify: ## kmirror verify on copies of 1 GiB, good ones and one with three faults
	cargo build --release --locked -p benches -p kmirror
	target/release/benches verify
