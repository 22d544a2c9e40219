# The two commands of the README are `make demo` and `make test`; `make check` is what a change must pass besides.
# Everything that is built here is built once per machine and kept in $(CACHE).

CACHE := $(or $(SERIN_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/serin)
DENY_VERSION := 0.20.2
DENY := $(CACHE)/cargo/bin/cargo-deny
SERIN := target/debug/serin

.PHONY: demo test check fmt clippy deny control-plane bench rust shell

demo: rust control-plane ## runs the main job: a bad version is taken back, a good one is promoted
	@cargo build --quiet --bins
	@$(SERIN) demo $(DEMO)

test: rust control-plane ## runs every test
	@cargo test --no-fail-fast

check: fmt clippy deny shell ## formatting, lints, licences; that crds/ is fresh is a test

fmt: rust
	@cargo fmt --check

clippy: rust
	@cargo clippy --all-targets -- -D warnings

deny: $(DENY)
	@scripts/deny.sh $(DENY)

$(DENY): | rust
	@echo "building cargo-deny $(DENY_VERSION) (once per machine, a few minutes)"
	@cargo install cargo-deny --locked --version $(DENY_VERSION) --root $(CACHE)/cargo

shell:
	@bash -n tests/cluster/build.sh scripts/*.sh .ci/run

control-plane: ## etcd, the API server, its controllers, kubectl and Prometheus
	@tests/cluster/build.sh

bench: rust control-plane ## what a rollout costs, as ratios
	@cargo bench --bench cost

rust:
	@command -v cargo >/dev/null || { \
	  echo "cargo is missing; install Rust: curl --proto '=https' -sSf https://sh.rustup.rs | sh"; exit 1; }
	@command -v cc >/dev/null || { echo "a C compiler is missing; install one: apt-get install build-essential"; exit 1; }
