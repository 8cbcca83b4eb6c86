// Package sn holds tests of the gateway with MQTT-SN devices, over UDP and over DTLS with
// a pre-shared key. No MQTT-SN client that others wrote is to be had from Debian, the Go
// proxy or npm, so the device is one in C, written from the specification alone, as
// firmware would be (cclient); it shares nothing with the gateway's codec. It runs
// natively, and on 32-bit ARM under QEMU. Beside it there are sluice sn, raw datagrams, and
// what others wrote after all: OpenSSL, and Wireshark's dissector.
//
// The other end of each message is Eclipse Paho for MQTT 3.1.1.
package sn
