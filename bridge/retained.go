package bridge

import "sluice/codec"

// synchronise asks the gateway for what is retained there: all of it for a new session
// of the upstream, else what matches filters that the gateway's session has not had yet,
// as after a change of the settings. It does so on the first link of a process, and
// again after a link that ended before the gateway was through with it.
//
// The gateway does not give back what the bridge itself brought down: the upstream may
// have newer. A rule with retain=off has no state to synchronise.
func (l *link) synchronise() {
	if !l.up.sessionPresent {
		l.synchronised, l.allRetained = false, true
	}
	if l.synchronised {
		return
	}
	var packets []byte
	asked := 0
	for i, sub := range l.Subscriptions() {
		if l.cfg.Up[i].Retain == RetainOff {
			continue
		}
		if l.allRetained {
			sub.RetainHandling = 0
		}
		p := codec.Subscribe{ID: subscribeID(asked), Subscriptions: []codec.Subscription{sub}}
		packets = p.Append(packets, l.local.version)
		asked++
	}
	packets = (&codec.Pingreq{}).Append(packets, l.local.version) // is answered when the gateway is through
	l.local.send(packets)
}
