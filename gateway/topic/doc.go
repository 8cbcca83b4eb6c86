// Package topic finds filters by topic and topics by filter.
//
// [Tree] holds subscriptions by topic filter and is asked with a topic name.
// [Names] holds values by topic name, such as retained messages, and is asked
// with a topic filter. Both are tries over levels whose nodes hold as many
// levels as nothing branches off in between, so that a device with a filter of
// its own costs one node:
//
//	dev/1/cmd   dev/2/cmd   dev/+/all   site/#
//
//	root ─┬─ dev ─┬─ 1/cmd
//	      │       ├─ 2/cmd
//	      │       └─ +/all
//	      └─ site/#
//
// Nothing here locks, and nothing here checks a filter or a name: callers pass
// what codec found valid, and filters of shared subscriptions without their
// $share/group/ prefix.
package topic
