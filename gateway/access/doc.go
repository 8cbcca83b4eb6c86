// Package access decides who may connect and which topics they may use,
// from one users file, read once:
//
//	# A pump and what it may do.
//	pump7:$scram-sha-256$i=50000$c2FsdC4uLi4$c3RvcmVkLi4$c2VydmVyLi4
//	    write     plant/%u/#
//	    read      plant/%u/commands
//
//	# Everybody, also who came without an account.
//	*
//	    readwrite devices/%c/#
//
// A line that starts at the margin begins a section: an account, written
// name:hash (sluice passwd makes such lines), or *, which holds for everybody.
// Indented lines are grants: read to subscribe, write to publish, readwrite
// for both, then a topic filter in which %u stands for the user name and %c
// for the client identifier. Lines that begin with # are comments.
//
// A password is given as it is (Verify) or proven by SCRAM-SHA-256 (Exchange). The
// file serves for both and opens nothing by itself: who steals it still has to guess
// the passwords. Passwords are prepared by SASLprep (RFC 4013), as clients of SCRAM do,
// so that it does not matter how a keyboard composes an accent; user names are not, and
// are best written without such.
//
// Who has no grant, neither of their own nor from *, may use every topic, but
// not publish below $SYS. Who has one may do what is granted and nothing else.
package access
