package bridge

import (
	"testing"
	"time"

	"sluice/codec"
)

// While the upstream has half a window to go on with, acknowledgements go to the
// gateway together; but they do not wait for what may never come.
func TestAcknowledgementsGoTogether(t *testing.T) {
	play(t, Config{}, func(t *testing.T, s *scene) {
		up, local := s.connect(codec.Connack{SessionPresent: true, ReceiveMaximum: 4})
		for id := uint16(1); id <= 4; id++ {
			local.send(publish(id, 1, "sensors/1", "21.5"))
			up.want("a message goes up", publish(id, 1, "sensors/1", "21.5"))
		}
		up.send(&codec.Puback{ID: 1})
		up.send(&codec.Puback{ID: 2})
		local.wantIdle("two are owed, half of the window")
		up.send(&codec.Puback{ID: 3})
		local.want("one is owed", &codec.Puback{ID: 1}, &codec.Puback{ID: 2}, &codec.Puback{ID: 3})
		local.send(publish(5, 1, "sensors/1", "21.5"), publish(6, 1, "sensors/1", "21.5"))
		up.want("two go up", publish(5, 1, "sensors/1", "21.5"), publish(6, 1, "sensors/1", "21.5"))
		up.send(&codec.Puback{ID: 4})
		local.wantIdle("two are owed")
		begun := time.Now()
		local.want("it has waited", &codec.Puback{ID: 4})
		if waited := time.Since(begun); waited != holdTime {
			t.Errorf("the acknowledgement waited for %v", waited)
		}
	})
}

// Over a line with a long round trip a window of messages goes up in each: that
// acknowledgements wait for others costs next to nothing.
func TestWindowOverALongLine(t *testing.T) {
	const (
		trip   = 100 * time.Millisecond
		rounds = 20
	)
	play(t, Config{}, func(t *testing.T, s *scene) {
		up, local := s.connect(codec.Connack{SessionPresent: true})
		const n = 100 * rounds // that is its window
		go func() {
			var dec codec.Decoder
			for packet := range up.got {
				p, _, _ := dec.Next(packet, codec.V5, 0)
				if p, ok := p.(*codec.Publish); ok {
					ack := (&codec.Puback{ID: p.ID}).Append(nil, codec.V5)
					time.AfterFunc(trip, func() { up.conn.Write(ack) })
				}
			}
		}()
		begun, sent := time.Now(), uint16(0)
		for ; sent < 100; sent++ {
			local.send(publish(sent+1, 1, "sensors/1", "21.5"))
			time.Sleep(trip / 150) // so that acknowledgements come one by one as well
		}
		for acked := 0; acked < n; {
			if (<-local.got)[0]>>4 != byte(codec.TypePuback) {
				continue
			}
			if acked++; sent < n {
				sent++
				local.send(publish(sent, 1, "sensors/1", "21.5"))
			}
		}
		took := time.Since(begun)
		// The last message of the first window goes up late.
		possible := rounds*trip + 100*trip/150
		t.Logf("%v, of which %v is the line", took, possible)
		if took.Seconds() > possible.Seconds()/0.95 {
			t.Errorf("%d messages took %v, want no more than %v", n, took, possible)
		}
	})
}
