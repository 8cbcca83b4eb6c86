// Package store keeps what must survive a power cut, on BuntDB.
package store
