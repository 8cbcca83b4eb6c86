// Package clients holds tests of the gateway with clients that nobody here
// wrote: Eclipse Paho for Go (3.1.1 and 5), MQTT.js, mosquitto_pub and
// mosquitto_sub. Every library plays the same scenes over every wire it has.
package clients
