package bridge

import "sync/atomic"

// Counters count since New.
type Counters struct {
	Connects int64 // connections made, both sides
	Up, Down int64 // messages handed on, resent ones included
	Batches  int64 // publishes in which several went up

	Lowered    int64 // went up at a lower QoS than they have: the upstream's Maximum QoS
	Unretained int64 // went up without their RETAIN: the upstream has no retained messages
	Refused    int64 // messages that the upstream refused by a reason code
	TooLarge   int64 // messages dropped: larger than the receiver's Maximum Packet Size
	Unnamed    int64 // messages dropped: the rules make a name of no bytes, or of more than 65535 or than the upstream takes
	Circled    int64 // messages dropped: they have passed Config.MaxHops bridges
	Echoed     int64 // messages from above dropped: they are what went up, and no No Local held them there
	Declined   int64 // messages from above that the gateway refused by a reason code

	Unanswerable int64 // response topics carried as they are: no rule the other way makes them
}

type counts struct {
	connects, up, down, batches, lowered, unretained, refused, tooLarge, unnamed, circled, echoed, declined, unanswerable atomic.Int64
}

func (c *counts) read() Counters {
	return Counters{
		Connects:     c.connects.Load(),
		Up:           c.up.Load(),
		Down:         c.down.Load(),
		Batches:      c.batches.Load(),
		Lowered:      c.lowered.Load(),
		Unretained:   c.unretained.Load(),
		Refused:      c.refused.Load(),
		TooLarge:     c.tooLarge.Load(),
		Unnamed:      c.unnamed.Load(),
		Circled:      c.circled.Load(),
		Echoed:       c.echoed.Load(),
		Declined:     c.declined.Load(),
		Unanswerable: c.unanswerable.Load(),
	}
}
