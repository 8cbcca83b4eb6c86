// Package live tests what a running gateway promises about its upstreams: that a publisher
// who waits for the cloud's word gets that and not the disk's, and that upstreams change
// without a restart.
package live
