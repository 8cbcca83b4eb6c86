// Package bridge holds a gateway's bridge against servers that nobody here wrote:
// Mosquitto, a cluster of three nats-server nodes, RabbitMQ with its MQTT plugin. What
// is published on one side is watched on the other, in raw bytes, or counted.
//
//	go test ./bridge -v
//
// A server that is not installed, and may not be, is skipped.
package bridge
