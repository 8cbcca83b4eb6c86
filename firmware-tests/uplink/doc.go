// Package uplink tests the line from the gateway to its upstream: that it is kept
// alive and found dead in time, moved to another server and back, led through
// proxies, and that nothing is lost on it.
package uplink
