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
