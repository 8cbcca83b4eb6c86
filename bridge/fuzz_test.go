package bridge

import (
	"testing"
	"time"

	"sluice/codec"
	"sluice/codec/batch"
)

// FuzzLink has a link take whatever an upstream, and a gateway, may send: each packet comes
// behind a byte that says from which, and nothing of it ends the program.
func FuzzLink(f *testing.F) {
	const up, down = 0, 1
	join := func(from byte, packets ...codec.Packet) (b []byte) {
		for _, p := range packets {
			b = p.Append(append(b, from), codec.V5)
		}
		return b
	}
	f.Add(append(join(up, reading(1, 1, "21"), reading(0, 0, "22"), publish(2, 2, "alarms/1", "fire"), reading(3, 2, "23"), &codec.Pubrel{ID: 2}),
		join(down, &codec.Puback{ID: 1, Code: codec.NotAuthorized, User: []codec.UserProperty{{Name: []byte(batch.Property), Value: []byte("1")}}}, &codec.Pubrec{ID: 2}, &codec.Pubcomp{ID: 2},
			&codec.Suback{ID: 65535, Codes: []codec.ReasonCode{1}}, &codec.Unsuback{ID: 65534, Codes: []codec.ReasonCode{codec.NotAuthorized}})...))
	f.Add(append(join(down, publish(1, 1, "site7/cmd/1", "x"), publish(2, 2, "site7/cmd/2", "y"), &codec.Pubrel{ID: 2}, &codec.Disconnect{}),
		join(up, &codec.Puback{ID: 1}, &codec.Pubrec{ID: 2, Code: codec.QuotaExceeded}, &codec.Pubcomp{ID: 2})...))
	cfg := batching
	cfg.Up = append(cfg.Up, Rule{Filter: "+/a/#", QoS: 1, To: "$1/$2", EndToEnd: true})
	cfg.Down = []Rule{{Filter: "site7/cmd/+", QoS: 1, To: "cmd/$1"}, {Filter: "a/+/b", QoS: 2}}
	cfg.MaxHops = 2
	f.Fuzz(func(t *testing.T, in []byte) {
		for _, v := range []codec.Version{codec.V5, codec.V311} {
			b := newScene(t, cfg).b
			b.filters["mqtt://cloud.example.com"] = []string{"old/#"}
			u := &upstream{wire: newWire(nil, v), server: b.home[0], batches: true, maximumQoS: 2, maximumPacketSize: 1000, sessionPresent: true, receiveMaximum: 10}
			b.subscribe(u)
			b.unsubscribe(u)
			l := newLink(b, u)
			l.local = newWire(nil, codec.V5)
			l.pace = newPace(10, 10)
			l.prepareBatches()
			l.window.init(l.local, 10)
			for in := in; len(in) > 0; {
				dec, version, take := codec.Decoder{FromServer: true}, v, l.fromUpstream
				if in[0] == up {
					version, take = codec.V5, l.fromGateway
				}
				p, n, err := dec.Next(in[1:], version, 0)
				if err != nil || n == 0 || take(p) != nil {
					break
				}
				in = in[1+n:]
			}
			l.flushDown()
			l.endBatches(true)
			l.batches.timer.Stop()
			l.echoes.cameBack([]byte("a"), nil, time.Hour)
		}
	})
}
