// Package store keeps what must survive a power cut: keys with values, the queues of sessions, and a clock, in one file of BuntDB.
//
// Set, Delete and the methods of Queue stage in memory and return at once. One goroutine, the committer, makes a batch
// of what is staged, writes it, calls fsync, and then Config.Committed: only what that has covered may be acknowledged.
// Where no fsync is asked for, an event loop that stages between Begin and End does the same itself, at its End.
//
//	gateway ── Set, Append, Done ──▶ staged ── take ──▶ batch ── Update, marker ──▶ file ── fsync ──▶ Committed(epoch)
//	                                    │ done before it is taken: never written
//
// # Keys
//
//	<anything>               what the gateway sets
//	q/<queue 8><first 8>     a chunk: records of one queue in one batch, from the sequence number first on (big endian)
//	0xFF                     the marker: epoch, clock and seed; written last in every batch
//
// Every value begins with a version and a CRC of key and body. A chunk is deleted when the last of its records is done.
//
// # What a crash leaves
//
//	[marker 7] set set del [marker 8] set set ╳
//	                                 └─────── cut by Open: batch 9 was not finished, and never acknowledged
//	[marker 7] set ▒▒▒ del [marker 8]
//	               └── damage: stepped over. The rest goes to a new file, the old one is kept as sluice.db.bad-1
//
// So a batch is there whole or not at all, except where the disk itself damaged it: then each key stands alone. Damage may
// bring back what was deleted, so that a message comes twice; it never hides what is whole. Open reads the file itself before
// BuntDB does, because BuntDB panics on some damage and loses its place on other.
//
// # What was chosen
//
//   - BuntDB reads the file and has the items in memory, but the file is written here, in its format. BuntDB would write a
//     transaction in any order, drop the error of fsync and hold its lock meanwhile, and panic if a write fails in the middle.
//   - A batch is one write, or one a MiB, and its marker the last of it; a head record with a count would have to be written before its
//     size is known. What a write leaves that failed is cut off before the next.
//   - After an fsync that failed the file is not trusted: everything is written to a new generation from memory.
//   - A chunk a batch, instead of a key a message: 70 bytes of memory instead of 185 for a record of 64, and a fraction of the writes.
//     A record for several queues is stored in each; a shared body would need a count that survives a crash, for little.
//   - Compaction writes the live items to a next generation, in slices between commits, and renames it. BuntDB's Shrink
//     stops everybody and syncs nothing.
//   - No time to live: BuntDB's follows the wall clock, which jumps on machines without one. DB.Clock goes on from the last marker.
//     One item that has expired is in memory: it ends what would wake the machine every second.
//   - A reserve file is given up on a full disk, so that deletions can be written; before that Err says that the disk is about full.
package store
