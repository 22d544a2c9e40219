# The two commands of the README are `make demo` and `make test`; `make check` is what a change must pass besides.
# Everything that is built here is built once per machine and kept in $(CACHE).

CACHE := $(or $(SERIN_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/serin)
DENY_VERSION := 0.20.2
DENY := $(CACHE)/cargo/bin/cargo-deny
CYCLONEDX_VERSION := 0.5.9
CYCLONEDX := $(CACHE)/cargo/bin/cargo-cyclonedx
TARGET := $(or $(CARGO_TARGET_DIR),target)
ROLLOUTS ?= 1000

.PHONY: demo demo-gitops test check docs sbom fmt clippy deny generated control-plane test-tools bench rust shell

demo: rust control-plane ## runs the main job: a bad version is taken back, a good one is promoted
	@cargo build $(if $(wildcard $(TARGET)/debug/serin),--quiet) --bins
	@$(TARGET)/debug/serin demo $(DEMO)

demo-gitops: rust test-tools ## a bad commit, a real Argo CD, an abort, its revert in Git, and a good version: with the times
	@cargo test --quiet --test cluster -- --nocapture \
		write_back::an_abort_is_reverted_in_git_with_the_evidence_and_the_application_is_healthy_again

test: rust test-tools ## runs every test
	@cargo test --no-fail-fast

check: fmt clippy deny shell generated docs ## formatting, lints, licences, generated files, links of the documentation

docs: ## the documentation as a site, in $(TARGET)/docs
	@scripts/docs.sh $(CACHE) $(TARGET)/docs

sbom: $(CYCLONEDX) ## what the image's program is made of, as CycloneDX, in $(TARGET)
	@$(CYCLONEDX) cyclonedx --quiet --format json --spec-version 1.5 --describe binaries --no-build-deps \
		--target x86_64-unknown-linux-musl
	@mkdir -p $(TARGET) && mv serin_bin.cdx.json $(TARGET)/serin.cdx.json && rm kubectl-serin_bin.cdx.json
	@echo "sbom: $(TARGET)/serin.cdx.json"

$(CYCLONEDX): | rust
	@echo "building cargo-cyclonedx $(CYCLONEDX_VERSION) (once per machine, a minute)"
	@cargo install cargo-cyclonedx --locked --version $(CYCLONEDX_VERSION) --root $(CACHE)/cargo

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

# A test, not `serin crds` and a comparison: without the tests' features the whole tree would be compiled once more.
generated: rust
	@cargo test --lib the_files_in_the_tree_are_fresh

control-plane: ## etcd, the API server, its controllers, kubectl and Prometheus
	@tests/cluster/build.sh

test-tools: ## that, and what tests alone need
	@tests/cluster/build.sh --tests

# How one decision grows with a Rollout's history: `cargo bench --bench decide`, about a minute.
bench: rust control-plane ## what a rollout costs, as ratios, and 1,000 updated at once (ROLLOUTS=number for others)
	@cargo bench --bench cost -- $(ROLLOUTS)

rust:
	@scripts/rust.sh
