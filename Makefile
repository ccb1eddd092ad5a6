# One command builds, one tests, one shows the thing working. Everything made here lies in .out and in the user's cache
# and data folders.

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
# What our registry is judged by, and what our client is tried on (internal/registry/conformance).
CONFORMANCE := github.com/opencontainers/distribution-spec/conformance@v0.0.0-20260831232431-97274622c111
DISTRIBUTION := github.com/distribution/distribution/v3/cmd/registry@v3.1.2
# Of the version in go.mod, so that the formatter and what renders BUILD files agree.
BUILDIFIER = github.com/bazelbuild/buildtools/buildifier@$(shell go list -m -f '{{.Version}}' github.com/bazelbuild/buildtools)

GOTESTSUM := gotest.tools/gotestsum@v1.13.0

# All paths are relative: the one of this directory may have spaces, which make takes for the end of a name.
BAZEL := tools/bazelw
# The race detector needs a C compiler, and tests of the store need strace. Where one of them is missing, the tests run
# where Bazel does; but for strace alone, nobody is asked to have more than apt.
IN_ENV := $(if $(shell command -v cc),$(if $(shell command -v strace),,$(if $(shell command -v apt-get),$(BAZEL) --in-env)),$(BAZEL) --in-env)

# Where `make serve` listens.
ADDRESS := localhost:5000

STARLARK = $(shell git ls-files -co --exclude-standard '*.bazel' '*.bzl')

export TMPDIR := $(CURDIR)/.out/tmp
# Tests choose their own stores; what a developer has set must not reach them.
unexport OCIPKG_STORE OCIPKG_TOOL OCIPKG_REQUIRE_DIGEST OCIPKG_INSECURE_REGISTRIES OCIPKG_CONFIG OCIPKG_MIRRORS OCIPKG_CA_FILE OCIPKG_DEBUG_AUTH

.PHONY: build demo serve test lint unit soak registries bazel e2e e2e-1 e2e-2 bench interop fix reference clean

build: | .out/tmp
	go build -o .out/ocipkg ./fetcher

demo: | .out/tmp
	@tools/demo

# The registry that the workspaces under examples/ expect, with their libraries in it. exec, so that make's signals reach it.
serve: build
	@exec tools/serve "$(ADDRESS)"

# What runs Bazel spends half its time waiting for it to start, for retries or for one action, hence side by side.
test: lint unit
	$(BAZEL) --version # makes the private one where there is none, which all three would wait for
	$(MAKE) --no-print-directory -j3 bazel e2e-1 e2e-2

lint: | .out/tmp
	@test -z "$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go'))" || { gofmt -d $$(git ls-files -co --exclude-standard '*.go'); exit 1; }
	go vet ./...
	GOOS=darwin go vet ./...
	GOOS=windows go vet ./...
	go run $(STATICCHECK) ./...
	tools/lint-starlark $(BUILDIFIER) $(STARLARK)

# It ends with a list of what was skipped, and why.
unit: registries | .out/tmp
	$(IN_ENV) go run $(GOTESTSUM) --format=pkgname -- -race ./...

# Programs that tests of internal/registry/conformance run. What cannot be had is skipped by them, which is said here because go
# test does not say it.
registries: .out/bin/conformance .out/bin/registry .out/prefixes/docker-registry

.out/bin/conformance: Makefile | .out/tmp
	@GOBIN="$(CURDIR)/.out/bin" go install $(CONFORMANCE) && touch $@ || echo "SKIPPED: the OCI conformance suite cannot be had"

.out/bin/registry: Makefile | .out/tmp
	@GOBIN="$(CURDIR)/.out/bin" go install $(DISTRIBUTION) && touch $@ || echo "SKIPPED: tests with distribution, which cannot be had"

.out/prefixes/docker-registry: | .out/tmp
	@tools/debian-prefix $@ docker-registry || echo "SKIPPED: tests with Debian's docker-registry, which cannot be had"

# What takes long of the store's tests: 64 processes for many rounds, 200 kills, and each system call that kills or fails.
soak: | .out/tmp
	OCIPKG_SOAK=$(or $(ROUNDS),100) $(IN_ENV) go test -count=1 -timeout=2h -v -run 'TestManyProcesses|TestManyPulls|TestFailingCalls|TestKilled' ./internal/store ./fetcher

# The repository as a workspace of its own, its BUILD files as Gazelle would write them, and what later Bazels say of them.
bazel: | .out/tmp
	$(BAZEL) build //...
	$(BAZEL) test //...
	$(BAZEL) run //:gazelle -- -mode=diff
	$(BAZEL) build --nobuild --config=next //...

# Real Bazel in real workspaces, against real registries: in two halves, which take about as long.
e2e:
	$(BAZEL) --version
	$(MAKE) --no-print-directory -j2 e2e-1 e2e-2

E2E_FIRST := ^Test(Gazelle|Matrix|Hub|Cross|Rust|Musl|Windows|Linkage)$$

e2e-1 e2e-2: .out/prefixes/docker-registry # which both may need at one time

e2e-1: | .out/tmp
	OCIPKG_E2E=1 go test -count=1 -timeout=30m -run '$(E2E_FIRST)' ./e2e

e2e-2: | .out/tmp
	OCIPKG_E2E=2 go test -count=1 -timeout=30m -skip '$(E2E_FIRST)' ./e2e

# Against oras, crane, curl, tar and zstd, in one run: see docs/performance.md. Takes minutes, and wants the machine for itself.
bench: | .out/tmp
	go run ./tools/bench

# The ocipkg project's own command and crate, compiled by cargo, against ours. Not part of test: it needs crates.
interop: | .out/tmp
	OCIPKG_INTEROP=1 go test -count=1 -timeout=90m -v ./e2e/interop

fix: | .out/tmp
	gofmt -w $$(git ls-files -co --exclude-standard '*.go')
	go mod tidy
	go generate ./fetcher
	go run ./tools/messages
	go run $(BUILDIFIER) -mode=fix -lint=fix $(STARLARK)
	$(BAZEL) run //:gazelle

# From the docstrings in rules/. Not part of fix, because stardoc takes a JDK.
reference:
	cd tools/reference && ../bazelw build //...
	install -m 644 tools/reference/bazel-bin/*.md docs/reference

clean:
	rm -rf .out

.out/tmp:
	@mkdir -p $@
