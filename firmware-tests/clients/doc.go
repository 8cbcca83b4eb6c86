// Package clients holds tests of the gateway with clients that nobody here
// wrote: Eclipse Paho for Go (3.1.1 and 5), Python, C, C++ and JavaScript,
// libmosquitto, MQTT.js, mosquitto_pub and mosquitto_sub. Every library plays the
// same scenes over every wire, in every version it has. Those in other languages
// have a player each, in a folder of its own; process_test.go says what it speaks.
package clients
