// Package transport carries the bytes of devices, whatever the wire.
package transport
