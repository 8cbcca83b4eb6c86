// Package admin is the gateway's HTTP interface, for those who look after it:
//
//	GET /healthz    200 while the gateway does its work, else 503 and why not
//	GET /metrics    what there is to measure, in the text format of Prometheus
//
// Both answer whoever reaches the address. They tell counts and the names of bridges: no
// secrets, no topics, no client identifiers.
//
// Nothing runs between two requests. The figures are read when they are asked for.
package admin
