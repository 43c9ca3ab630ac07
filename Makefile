tool := go tool -modfile=.ci/tools/go.mod
STORES ?= config/stores
lean := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/soundstrip/ffmpeg

.PHONY: help
help: ## print what make can do
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "%-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: ffmpeg ## serve everything on http://127.0.0.1:8080, with the data in .soundstrip
	@[ -n "$$FFMPEG" ] || [ -e .soundstrip ] || [ -e $(lean) ] || ! grep -qs '^PRETTY_NAME="Debian GNU/Linux 12' /etc/os-release || \
	  echo "make lean takes two minutes, once, and makes conversions three times as fast" >&2
	FFMPEG=$${FFMPEG:-$$(PATH=$(lean)/bin:$$PATH command -v ffmpeg)} go run ./functions/cmd/soundstrip

.PHONY: lean
lean: ## build the small, fast ffmpeg of convert's image, on Debian 12; run takes it from then on
	config/images/ffmpeg/build --to $(lean)

.PHONY: ffmpeg
ffmpeg: ## install ffmpeg, where it is missing and apt is there
	@command -v ffmpeg >/dev/null || ! command -v apt-get >/dev/null || \
	  (sudo=$$([ "$$(id -u)" = 0 ] || echo sudo); $$sudo apt-get update -q && $$sudo apt-get install -yq --no-install-recommends ffmpeg)

.PHONY: test
test: ## install and start what the tests need, on Debian, and run them all
	.ci/servers install
	.ci/servers with .ci/test -race -shuffle=on -timeout 30m -vet=off -ldflags="-s -w" ./...

.PHONY: faults
faults: ## kill, cut off and slow down all there is while videos are uploaded, and count what is lost; SEEDS=20 such runs
	.ci/servers install
	CONSUMER_TIMEOUT=10000 DISKS=tmpfs .ci/servers with go test -tags faults ./functions/faults -count=1 -v -timeout 3h

.PHONY: fuzz
fuzz: ## try all that reads bytes from outside with inputs that Go makes up, TIME=10s for each target
	TIME=$(or $(TIME),10s) .ci/fuzz

.PHONY: hostile
hostile: ## convert N=10000 media files that are made to do harm, the same again for the same SEED=1
	TEST_HOSTILE=$(or $(N),10000) SEED=$(or $(SEED),1) go test ./functions/internal/engine -run '^TestHostile$$' \
	  -count=1 -v -timeout 12h

.PHONY: mutations
mutations: ## prove that make faults finds what it should: a dozen bugs, one after the other, must each fail it
	.ci/servers install
	.ci/servers with .ci/mutations

.PHONY: browser
browser: ## try the page in Chromium, which is installed on Debian; SCREENSHOTS=folder for pictures of it
	.ci/browser -race -shuffle=on -timeout 30m

.PHONY: bench
bench: ## measure conversions from GridFS to GridFS against ffmpeg with temporary files, and the old way; BENCH=3 times each
	.ci/servers install
	SOUNDSTRIP_BENCH=$(or $(BENCH),3) FFMPEG=$${FFMPEG:-$$(PATH=$(lean)/bin:$$PATH command -v ffmpeg)} .ci/servers with \
	  go test ./functions/e2e -run TestBench -count=1 -v -timeout 3h

.PHONY: memory
memory: ## take 4 GB up and down through every function, and print their largest heaps
	.ci/servers install
	SOUNDSTRIP_BIG=4000000000 .ci/servers with go test ./functions/e2e -run TestMemory -count=1 -v -timeout 60m

.PHONY: killed
# The stand-in for MongoDB reads all it has each time it is asked how much room is left: STORE_MIN_FREE=0 does not ask.
killed: ## send 20 GB at 200 Mbit/s to a durable MongoDB while gateway and upload are killed twice each; a quarter of an hour
	MONGO=durable .ci/servers install
	STORE_MIN_FREE=0 SOUNDSTRIP_BIG=20000000000 MONGO=durable .ci/servers with \
	  go test ./functions/e2e -run TestUploadKilled -count=1 -v -timeout 60m

.PHONY: load
load: ## measure events, uploads, conversions, downloads, growth on real servers; LOAD=500 videos at once, JOBS=1000000 kept
	.ci/servers install
	SOUNDSTRIP_LOAD=$(or $(LOAD),100) SOUNDSTRIP_LOAD_JOBS=$(or $(JOBS),100000) \
	  TEST_FFMPEG=$${TEST_FFMPEG:-$$(PATH=$(lean)/bin:$$PATH command -v ffmpeg)} .ci/servers with \
	  go test ./functions/e2e -run TestLoad -count=1 -v -timeout 3h

.PHONY: starts
starts: ## measure how long each function's process takes until it listens, and its size
	go test ./functions/e2e -run '^$$' -bench Start -benchtime 10x

.PHONY: lint
lint: ## check the code with golangci-lint, as .golangci.yml says
	$(tool) golangci-lint run ./...

.PHONY: images
images: ## build the base image of convert, which holds ffmpeg, with Docker
	docker build --tag ko.local/soundstrip/ffmpeg:bookworm --file config/images/ffmpeg/Containerfile config/images/ffmpeg

.PHONY: secrets
secrets: ## make the Secrets that are not in the cluster yet, with random values
	kubectl apply -f config/000-namespace.yaml
	config/secrets

.PHONY: deploy
deploy: secrets ## build and apply everything; STORES= leaves out MySQL, MongoDB and RabbitMQ
	$(tool) ko apply $(STORES:%=-f %) -f config/

.PHONY: e2e
e2e: ## try everything on the Knative that KUBECONFIG leads to; functions/cluster/doc.go has the variables
	go test -tags e2e -count=1 -v -timeout 60m ./functions/cluster

.PHONY: release
release: ## push the images to KO_DOCKER_REPO and write release.yaml, which is config/ with their digests
	$(tool) ko resolve -f config/ >release.yaml.part
	mv release.yaml.part release.yaml

.PHONY: undeploy
undeploy: ## delete everything, the stores and what they hold as well
	kubectl -n soundstrip delete --ignore-not-found ksvc,cronjobs,deployments,statefulsets --all
	@# Pods first: a namespace that has some looks again only after half of the longest grace that they have.
	kubectl -n soundstrip wait --for=delete pods --all --timeout=15m
	kubectl delete --ignore-not-found -f config/000-namespace.yaml
