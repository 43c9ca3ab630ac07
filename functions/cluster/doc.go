// Package cluster holds the test that runs Soundstrip on a Kubernetes with Knative Serving, as `make e2e` does. Its
// files have the build tag e2e, so that `go test ./...` leaves them out.
//
//	KUBECONFIG      the cluster; everything in its namespaces soundstrip and soundstrip-e2e is replaced
//	KO_DOCKER_REPO  where ko puts the images
//	KO_CONFIG_PATH  ko's configuration, ko.yaml when it is not set
//	INGRESS         host:port of Knative's ingress, when the names of its routes do not lead there
//	STORES          as for make deploy: what brings MySQL, MongoDB and RabbitMQ, config/stores when it is not set
//	RABBITMQ_CONTROL, KUBELET_CONTROL  programs that kill RabbitMQ and a node's kubelet when called with stop, and begin
//	                them anew with start; when they are not set, that is left out
//	MONGODB_URI     that MongoDB as the test reaches it, to count what is stored; when it is not set, that is left out
package cluster
