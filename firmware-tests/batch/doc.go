// Package batch sends messages up in batches, from one gateway to another: what that
// saves of a metered line, and that nothing is lost by it.
package batch
