export KO_CONFIG_PATH ?= ko.yaml
tool := go tool -modfile=.ci/tools/go.mod
STORES ?= config/stores

.PHONY: help
help: ## print what make can do
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "%-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

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

.PHONY: undeploy
undeploy: ## delete everything, the stores and what they hold as well
	kubectl delete --ignore-not-found -f config/000-namespace.yaml
