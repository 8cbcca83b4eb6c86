// Package rig starts and ends what the tests run against: the gateway's
// binary, Mosquitto, a cluster of nats-server nodes, and the proxy that cuts a
// line between them.
//
//	devices ──► Gateway ──► Proxy ──► Cluster
//	            bin/sluice  cut/heal  three nats-server processes
//
// Everything runs on 127.0.0.1, on free ports, in a directory of its own, and
// ends with the program that started it, even if that is killed.
package rig
